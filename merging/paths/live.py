"""Models of paths in memory: the layers of their parts under new numbers, shared and not copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from merging.dtypes import torch_dtype
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds.kind import Components
from merging.merge_tensor import make_loader, merge_tensor
from merging.models.building import build_empty_model, build_from_config, read_schema, stored_weights
from merging.models.carrier import carry, check_carrier, find_carrier
from merging.models.components import language_names
from merging.models.schema import ModelSchema, match_tensors
from merging.paths.folding import fold_scale
from merging.paths.layout import lay_out, path_config
from merging.recipes.path import PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.json_object import read_json_object
from merging.sources.weights import Weights
from merging.tensor_names import parse_name, renumber


class PathModels:
    """Builds the model of one path after another on the same parts, which it keeps.

    config_source: folder of the config and the generation config. Give the release's writer the same one.
    sources: the weights of every source and base that the parts of paths will name.
    carrier: as for `LiveModel`.
    dtype: dtype of the models, and of every recipe. A source that is stored in it stays mapped on the CPU; a part that
    is a merge, and every part on another device, takes its own memory once.
    """

    def __init__(
        self,
        config_source: Path,
        sources: Mapping[ModelId, Weights],
        *,
        dtype: str,
        device: str = "cpu",
        carrier: ModelId | None = None,
    ) -> None:
        self._config_source = config_source
        self._given = sources
        self._dtype = dtype
        self._device = device
        self._named_carrier = carrier
        self._config = read_json_object(config_source / "config.json")
        self._parts: dict[str, PreTrainedModel] = {}

    @cached_property
    def _schema(self) -> ModelSchema:
        return read_schema(build_empty_model(self._config_source, self._dtype, "meta"))

    @cached_property
    def _sources(self) -> Mapping[ModelId, Weights]:
        """The given weights by the carrier's names; not before a path needs them, for most searches have none."""
        return carry(self._schema, self._given, self._carrier)

    @cached_property
    def _carrier(self) -> ModelId:
        return self._named_carrier or find_carrier(self._schema, self._given, self._config_source)

    def model(self, path: PathRecipe) -> PreTrainedModel:
        """The model of a path, ready to score; its weights are shared, so do not write to them.

        Only the weights that carry a scale other than 1 are its own. MergingError for a recipe of another dtype, in
        another carrier or of an unknown source, and for a path that the family cannot have.
        """
        if path.dtype != self._dtype:
            raise MergingError(f"dtype: got {path.dtype}: these models are built in {self._dtype}")
        check_carrier(path, self._carrier)
        parts = [self._part(recipe) for recipe in path.parts]
        model = build_from_config(path_config(path, self._config), str(self._config_source), self._dtype)
        model.load_state_dict(self._state(path, parts), strict=False, assign=True)
        model.tie_weights()
        _take_buffers(model, path, parts, self._schema.components)
        if missing := [name for name, tensor in _tensors(model) if tensor.is_meta]:
            raise MergingError(f"{self._config_source}: {missing[0]} of the path's model is in none of its parts")
        if (self._config_source / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(self._config_source, local_files_only=True)
        return model.eval().requires_grad_(False)

    def _state(self, path: PathRecipe, parts: list[PreTrainedModel]) -> dict[str, Tensor]:
        states = [_own_state(part) for part in parts]
        layout = lay_out(path, states[0], self._config, self._schema.components)
        return {
            name: fold_scale(states[taken.part][taken.name], taken.fold, taken.stream) for name, taken in layout.items()
        }

    def _part(self, recipe: WeightMerge) -> PreTrainedModel:
        if recipe.digest not in self._parts:
            self._parts[recipe.digest] = self._build_part(recipe)
        return self._parts[recipe.digest]

    @torch.no_grad()
    def _build_part(self, recipe: WeightMerge) -> PreTrainedModel:
        """Build a part as a model: weights that a file holds unchanged are views of it, all others are merged."""
        load = make_loader(recipe, self._sources)
        model = build_empty_model(self._config_source, self._dtype, "cpu")
        weights, own = stored_weights(model), _own_state(model)
        by_weight = {id(weight): name for name, weight in own.items()}
        mapped: dict[str, Tensor] = {}
        origins = [self._sources[origin] for origin in recipe.origins]
        for name, place in match_tensors(self._schema, origins).items():
            weight = weights[place]
            stored = load(recipe.tensor_merge(name).sources[0], name)
            if recipe.is_single and id(weight) in by_weight and stored.dtype == torch_dtype(self._dtype):
                mapped[by_weight[id(weight)]] = stored
            else:
                weight.copy_(merge_tensor(recipe, name, load))
        model.load_state_dict(mapped, strict=False, assign=True)
        model.tie_weights()
        return model.to(self._device).eval().requires_grad_(False)


def _own_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state dict without the names that are tied to others."""
    tied = set(model.all_tied_weights_keys)
    return {name: weight for name, weight in model.state_dict(keep_vars=True).items() if name not in tied}


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _take_buffers(
    model: PreTrainedModel, path: PathRecipe, parts: list[PreTrainedModel], components: Components
) -> None:
    """Give the model the buffers that transformers computes from a config (rotations, masks), from its parts."""
    computed = [dict(part.named_buffers()) for part in parts]
    for name, buffer in list(model.named_buffers()):
        if not buffer.is_meta:
            continue
        layer = parse_name(name).layer if language_names([name], components) else None
        part, own = (path.embedding, name)
        if layer is not None:
            part, own = path.hops[layer].part, renumber(name, path.hops[layer].layer)
        if own in computed[part]:
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, computed[part][own])
