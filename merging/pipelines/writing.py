"""Write a merged pipeline as a folder that plain `DiffusionPipeline.from_pretrained` loads: whole, or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from merging.dtypes import element_bytes
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import COMPANION_FILES
from merging.merge_tensor import make_loader, merge_tensor
from merging.pipelines.index import COMPONENTS_KEY, INDEX, NO_MERGEKIT, listed_components
from merging.pipelines.parts import PipelineParts, owner_of, plan_parts
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.model_config import read_model_config
from merging.sources.weights import Weights
from merging.writing.atomic import atomic_folder, disk_errors
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import render_config, set_dtype
from merging.writing.shards import write_file, write_weights

ALIGNMENT = 64
"""Bytes: where torch's own allocations start, as those of a live pipeline."""

_CHUNK = 1 << 24
"""Bytes of a file that are copied at once."""

_RECIPE = f"# {NO_MERGEKIT}\n# The exact recipe is in shoal.json.\n"


def write_pipeline(
    recipe: Recipe,
    weights: Mapping[ModelId, Weights],
    target: Path,
    documents: Mapping[str, bytes],
    *,
    max_shard_bytes: int,
    carrier: Path,
) -> dict[str, str]:
    """Write a pipeline into the new folder `target`; returns path → SHA-256 (hex), sorted.

    Merged components are written tensor by tensor under the names in the carrier's files. Components taken whole are
    copied byte by byte, without a variant in their files' names, and tokenizers with their text encoders; all else is
    the carrier's. carrier: its folder. MergingError as `write_release` raises it.
    """
    if recipe.hops:
        raise MergingError(f"{recipe.describe()}: pipelines are merged by their weights alone; use a merge method")
    (merge,) = recipe.parts
    config = read_model_config(carrier)
    plan = _Plan(merge, weights, plan_parts(merge, config, weights, carrier), open_pipeline(carrier), config)
    own = {INDEX: render_config(plan.index), RECIPE_NAME: _RECIPE.encode()}
    for name in documents:
        if Path(name).name != name or name in own or name in plan.components:
            raise MergingError(f"documents: got {name!r}: give a plain file name that the release leaves free")
    hashes: dict[str, str] = {}
    with atomic_folder(target) as folder, disk_errors(target):
        for component in plan.components:
            (folder / component).mkdir()
            merged = component in plan.parts.merged
            written = plan.write_merged(folder, component, max_shard_bytes) if merged else plan.copy(folder, component)
            hashes |= {f"{component}/{name}": digest for name, digest in written.items()}
        hashes |= {name: write_file(folder / name, [content]) for name, content in (own | dict(documents)).items()}
    return dict(sorted(hashes.items()))


@dataclass(frozen=True)
class _Plan:
    """Where everything in a written pipeline comes from. config: the carrier's."""

    recipe: WeightMerge
    weights: Mapping[ModelId, Weights]
    parts: PipelineParts
    carrier: PipelineWeights
    config: Mapping[str, Any]

    @property
    def components(self) -> tuple[str, ...]:
        """The folders of the written pipeline: the carrier's."""
        return tuple(listed_components(self.config))

    @property
    def index(self) -> dict[str, object]:
        """The written model_index.json: the carrier's, with the classes of what is taken from others."""
        kept = {key: value for key, value in self.config.items() if key not in (COMPONENTS_KEY, "_name_or_path")}
        others = {folder: self.parts.owner(folder) for folder in self.components}
        taken = {
            folder: read_model_config(self.weights[owner].folder).get(folder, kept[folder])
            for folder, owner in others.items()
            if owner is not None
        }
        return {**kept, **taken}

    def write_merged(self, target: Path, component: str, max_shard_bytes: int) -> dict[str, str]:
        """Write a merged component; name → SHA-256."""
        load, prefix, dtype = make_loader(self.recipe, self.weights), f"{component}.", self.recipe.dtype
        names = {self.carrier.stored_name(name).removeprefix(prefix): name for name in self.parts.merged[component]}
        shapes = _aligned({stored: self.parts.merged[component][name] for stored, name in names.items()}, dtype)

        def make(stored: str, memory: Tensor) -> Tensor:
            return merge_tensor(self.recipe, names[stored], load, into=memory)

        stem = self.carrier.files[component].stem
        hashes = write_weights(target / component, shapes, dtype, make, max_shard_bytes, stem, ALIGNMENT)
        for name, content in self._settings(component):
            hashes[name] = write_file(target / component / name, [content])
        return hashes

    def copy(self, target: Path, component: str) -> dict[str, str]:
        """Copy a component from its owner; name → SHA-256."""
        source = self._owner(component)
        place, hashes = source.folder / component, {}
        for path in _companions(place):
            hashes[path.name] = write_file(target / component / path.name, _chunks(path))
        files = source.files.get(component)
        for name in (files.single, *files.shards) if files else ():
            if name:
                plain = files.plain_name(name) if files else name
                hashes[plain] = write_file(target / component / plain, _chunks(place / name))
        if files and files.index:
            index = json.loads((place / files.index).read_bytes())
            index["weight_map"] = {key: files.plain_name(name) for key, name in index["weight_map"].items()}
            plain = files.plain_name(files.index)
            hashes[plain] = write_file(target / component / plain, [render_config(index)])
        return hashes

    def _owner(self, component: str) -> PipelineWeights:
        """The pipeline whose files a component has besides weights that are merged."""
        owner = self.parts.owner(component)
        return self.carrier if owner is None else owner_of(self.weights, owner, component)

    def _settings(self, component: str) -> Iterator[tuple[str, bytes]]:
        """The settings of a merged component: its config with the dtype of its weights, where it has one."""
        folder = self._owner(component).folder
        config = read_model_config(folder)[COMPONENTS_KEY][component]
        for path in _companions(folder / component):
            has_dtype = path.name == "config.json" and "architectures" in config
            yield path.name, render_config(set_dtype(config, self.recipe.dtype)) if has_dtype else path.read_bytes()


def _aligned(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, tuple[int, ...]]:
    """Tensors in an order in which each starts at a multiple of the alignment, or of its own size's power of two.

    diffusers maps files, and arithmetic on a mapped tensor may depend, in the last bits, on where it starts.
    """
    width = element_bytes(dtype)

    def key(name: str) -> tuple[int, str]:
        size = math.prod(shapes[name]) * width
        return -min(size & -size, ALIGNMENT), name

    return {name: shapes[name] for name in sorted(shapes, key=key)}


def _companions(place: Path) -> list[Path]:
    """The files of a component beside its weights."""
    known = {PurePosixPath(path).name for path in COMPANION_FILES if path.startswith(f"{place.name}/")}
    return [path for path in sorted(place.iterdir()) if path.is_file() and path.name in known]


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
