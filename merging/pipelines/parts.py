"""What a merge does with each component of its carrier, and the tensors that its models must have for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merging.dtypes import NAMES
from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Component, Whole
from merging.pipelines.index import DENOISERS
from merging.pipelines.naming import outline_of, tensor_shapes
from merging.pipelines.weights import PipelineWeights
from merging.recipes.weight_merge import WeightMerge
from merging.sources.family import TensorHeader
from merging.sources.weights import Weights

TEXT_ENCODER, TOKENIZER = "text_encoder", "tokenizer"


@dataclass(frozen=True)
class PipelineParts:
    """The components of a merged pipeline, by folder.

    merged: folder → shape of each of its tensors, by the names that merges have. whole: folder → the model that it is
    taken from, in the carrier's order; None is the carrier, for components that the merge does not know. A component
    that is taken whole, and that a last stage changes, is in both; so is one from a checkpoint in one file, there as if
    it were the carrier's.
    """

    merged: Mapping[str, Mapping[str, tuple[int, ...]]]
    whole: Mapping[str, ModelId | None]

    @property
    def copied(self) -> Mapping[str, ModelId | None]:
        """Those of the components taken whole that stay as they are in the files of their model."""
        return {folder: owner for folder, owner in self.whole.items() if folder not in self.merged}

    def owner(self, folder: str) -> ModelId | None:
        """The model whose files a component without weights has: a tokenizer is its text encoder's."""
        return self.whole.get(reader_of(folder))


def reader_of(folder: str) -> str:
    """The component that a folder's files are for: of a tokenizer its text encoder, else the component itself."""
    return folder.replace(TOKENIZER, TEXT_ENCODER, 1) if folder.startswith(TOKENIZER) else folder


class CarrierShapes:
    """The tensors that the components of a carrier have; each model that gives some is compared with it once.

    config: the carrier's. weights: of every origin. carrier: its folder.
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[ModelId, Weights], carrier: Path) -> None:
        self.weights = weights
        self._config, self._label = config, str(carrier)
        self._shapes: dict[str, Mapping[str, tuple[int, ...]]] = {}
        self._fitting: set[tuple[str, ModelId]] = set()

    def fitting(self, folder: str, origins: Iterable[ModelId]) -> Mapping[str, tuple[int, ...]]:
        """The shapes of a component's tensors, by name; MergingError for a model whose tensors are others."""
        if folder not in self._shapes:
            self._shapes[folder] = dict(sorted(tensor_shapes(self._config, folder, self._label).items()))
        for origin in origins:
            if (folder, origin) not in self._fitting:
                ignored = buffer_names(self._config, folder, self._label)
                _check_tensors(self.weights[origin], folder, self._shapes[folder], ignored)
                self._fitting.add((folder, origin))
        return self._shapes[folder]


def plan_parts(recipe: WeightMerge, carrier: CarrierShapes) -> PipelineParts:
    """Plan what becomes of each component.

    A recipe that gives one model back has that model's components as they are, and so its tokenizers: it is to draw
    what the model draws. MergingError for a model whose tensors do not fit the carrier.
    """
    weights = carrier.weights
    changed = weights[recipe.last_stage.adapted].changed if recipe.last_stage else frozenset()
    merged: dict[str, Mapping[str, tuple[int, ...]]] = {}
    whole: dict[str, ModelId | None] = {}
    own = _taken_alone(recipe, weights)
    for component in recipe.groups.components:
        (folder,) = component.within
        if isinstance(component.use, Whole):
            whole[folder] = component.use.source
        elif folder in own:
            whole[folder] = own[folder]
        converted = (source := whole.get(folder)) is not None and folder in weights[source].converted
        if converted:
            whole[folder] = None  # settings and tokenizers are the carrier's
        elif folder in whole and folder not in changed:
            continue
        staged = [recipe.last_stage.adapted] if recipe.last_stage and folder in changed else []
        merged[folder] = carrier.fitting(folder, (*_find_givers(recipe, component), *staged))
    return PipelineParts(merged, whole)


def _find_givers(recipe: WeightMerge, component: Component) -> list[ModelId]:
    """The models whose tensors a component is made of, without those of a last stage."""
    if isinstance(component.use, Whole):
        return [component.use.source] if component.use.source else []
    merged = (*recipe.sources, *([recipe.base] if recipe.base else []))
    return [model for model in merged if model not in component.lacking]


def may_be_merged(folder: str) -> bool:
    """Whether a component is one that is usually merged, so that its tensors must be those of its config.

    The files of others, such as old VAEs, may have names that only their library understands.
    """
    return folder in DENOISERS or folder.startswith(TEXT_ENCODER)


def find_tensor_fault(config: Mapping[str, Any], folder: str, headers: Mapping[str, TensorHeader]) -> str | None:
    """The reason why the tensors of a pipeline's component are not those of its own config; None if they are.

    headers: by the names that merges have. MergingError for a component that cannot be built.
    """
    shapes = tensor_shapes(config, folder, "its config")
    return tensor_mismatch(headers, folder, shapes, buffer_names(config, folder, "its config"), "its config's")


def owner_of(weights: Mapping[ModelId, Weights], model: ModelId, folder: str) -> PipelineWeights:
    """The pipeline that a component is taken from as it is in its files; MergingError if it has none, or another."""
    found = weights[model]
    if not isinstance(found, PipelineWeights) or folder in found.changed:
        raise MergingError(f"{model}: its {folder} is not taken whole, for an adapter changes it: merge it instead")
    if not (found.folder / folder).is_dir():
        raise MergingError(f"{model}: it lacks the component {folder}: take it from another source")
    return found


def _taken_alone(recipe: WeightMerge, weights: Mapping[ModelId, Weights]) -> dict[str, ModelId | None]:
    """The components besides the denoiser of a recipe that gives one model back: folder → the model that it is of.

    It is the carrier (None) where the model lacks the component. None that an adapter of the model changes, or that is
    in a checkpoint in one file.
    """
    model = recipe.sources[0]
    if not recipe.is_single:
        return {}
    alone = weights[model]
    held, made = {name.partition(".")[0] for name in alone.headers}, alone.changed | alone.converted
    folders = [folder for component in recipe.groups.components[1:] for folder in component.within]
    return {folder: model if folder in held else None for folder in folders if folder not in made}


def _check_tensors(
    weights: Weights, folder: str, shapes: Mapping[str, tuple[int, ...]], ignored: frozenset[str]
) -> None:
    if fault := tensor_mismatch(weights.headers, folder, shapes, ignored, "the carrier's"):
        raise MergingError(f"{weights.folder}: {fault}")


def buffer_names(config: Mapping[str, Any], folder: str, label: str) -> frozenset[str]:
    """The names of buffers, which old files of a component may have."""
    return outline_of(config, folder, label).buffers


def tensor_mismatch(
    headers: Mapping[str, TensorHeader],
    folder: str,
    shapes: Mapping[str, tuple[int, ...]],
    ignored: frozenset[str],
    whose: str,
) -> str | None:
    """The first difference between the tensors of a component and what they must be. whose: of what must be."""
    own = {name: header for name, header in headers.items() if name.startswith(f"{folder}.")}
    for name, shape in shapes.items():
        if name not in own:
            return f"it has no tensor {name}, which {whose} {folder} has"
        if own[name].shape != shape:
            return f"tensor {name} is {list(own[name].shape)}, {whose} {list(shape)}"
        if own[name].dtype not in NAMES:
            return f"tensor {name} is of dtype {own[name].dtype}, which cannot be merged"
    extra = sorted(name for name in own.keys() - shapes.keys() if name.removeprefix(f"{folder}.") not in ignored)
    return f"its tensor {extra[0]} has no place in {whose} {folder}" if extra else None
