"""A pipeline's folder as weights: the tensors of its components, with the component's folder before their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from merging.errors import MergingError
from merging.pipelines.index import WeightFiles, find_index_fault, weight_files
from merging.pipelines.naming import find_lack, name_pipeline_tensors
from merging.sources.checkpoint import Checkpoint
from merging.sources.family import TensorHeader
from merging.sources.model_config import read_model_config
from merging.sources.weights import Weights


class PipelineWeights(Weights):
    """The weights of all components of a pipeline; each component has the files of one variant."""

    def __init__(
        self,
        folder: Path,
        components: Mapping[str, Weights],
        names: Mapping[str, str],
        files: Iterable[WeightFiles],
        config: Mapping[str, Any],
    ) -> None:
        """components: by folder. names: name in merges → stored name, both after the component's folder.

        files: none of what is not the folder of a pipeline, such as a single-file checkpoint.
        """
        self.components = dict(components)
        self._config = config
        self._stored = names
        self.files: Mapping[str, WeightFiles] = {one.folder: one for one in files}
        self.converted = frozenset(self.components) - frozenset(self.files)
        headers = {}
        for name, stored in names.items():
            component, _, own = stored.partition(".")
            headers[name] = replace(self.components[component].header(own), name=name)
        super().__init__(folder, headers)

    @property
    def config(self) -> Mapping[str, Any]:
        """The pipeline's config, with those of its components."""
        return self._config

    def stored_name(self, name: str) -> str:
        """The name of a tensor in its component's files, after the component's folder."""
        self.header(name)
        return self._stored[name]

    @property
    def stored_headers(self) -> dict[str, TensorHeader]:
        """The headers of all files by the names that they have there, after the component's folder."""
        return {
            f"{folder}.{name}": replace(header, name=f"{folder}.{name}")
            for folder, component in self.components.items()
            for name, header in component.headers.items()
        }

    def tensor(self, name: str) -> Tensor:
        """A tensor as a view of its component's mapped file."""
        component, _, own = self.stored_name(name).partition(".")
        return self.components[component].tensor(own)

    def verify(self) -> None:
        """Read every weight of every component."""
        for component in self.components.values():
            component.verify()


def open_pipeline(folder: Path) -> PipelineWeights:
    """Read and check the headers of a pipeline's weights; MergingError names the file that is wrong."""
    config = read_model_config(folder)
    if fault := find_index_fault(config) or find_lack(config):
        raise MergingError(f"{folder}: {fault}")
    listed = (path.relative_to(folder).as_posix() for path in folder.glob("*/*") if path.is_file())
    try:
        files = weight_files(config, listed)
    except MergingError as error:
        raise MergingError(f"{folder}: {error}") from error
    components = {name: Checkpoint.open(folder / name, one.single, one.index) for name, one in files.items()}
    stored = [f"{name}.{own}" for name, component in components.items() for own in component.names]
    named = name_pipeline_tensors(config, str(folder), stored)
    names: dict[str, str] = {}
    for own in stored:
        names.setdefault(named[own], own)  # a tied tensor may be stored twice
    return PipelineWeights(folder, components, names, files.values(), config)
