"""Models of paths in memory: layers of the parts under new numbers, referred to and not copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from merging.errors import MergingError
from merging.merge_tensor import TORCH_DTYPES, loader, merge_tensor
from merging.models.building import build_empty_model, build_from_config, schema_of_model, stored_weights
from merging.models.schema import places
from merging.models.stored_model import read_config_json
from merging.partition import parse_name, renumbered
from merging.paths.folding import folded
from merging.paths.layout import lay_out, path_config
from merging.recipes.path import PathRecipe
from merging.recipes.weight_merge import ModelId, WeightMerge
from merging.sources.checkpoint import Checkpoint


class PathModels:
    """Builds the model of one path after another on the same parts, which it keeps.

    skeleton: folder of the config and the generation config. Give the release's writer the same one.
    checkpoints: every source and base that the parts of paths will name.
    dtype: of the models, and of every recipe. A source that is stored in it stays mapped on the CPU; a part that is
    a merge, and every part on another device, takes its own memory once.
    """

    def __init__(
        self, config_source: Path, checkpoints: Mapping[ModelId, Checkpoint], *, dtype: str, device: str = "cpu"
    ) -> None:
        self._config_source = config_source
        self._checkpoints = checkpoints
        self._dtype = dtype
        self._device = device
        self._config = read_config_json(config_source)
        self._parts: dict[str, Any] = {}

    def model(self, path: PathRecipe) -> Any:
        """The causal language model of a path, ready to score; its weights are shared, so do not write to them.

        Only the weights that carry a scale other than 1 are its own. MergingError for a recipe of another dtype or
        of an unknown source, and for a path that the family cannot have.
        """
        if path.dtype != self._dtype:
            raise MergingError(f"dtype: got {path.dtype}: these models are built in {self._dtype}")
        parts = [self._part(recipe) for recipe in path.parts]
        model = build_from_config(path_config(path, self._config), str(self._config_source), self._dtype)
        model.load_state_dict(self._state(path, parts), strict=False, assign=True)
        model.tie_weights()
        _take_buffers(model, path, parts)
        if missing := [name for name, tensor in _tensors(model) if tensor.is_meta]:
            raise MergingError(f"{self._config_source}: {missing[0]} of the path's model is in none of its parts")
        if (self._config_source / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(self._config_source, local_files_only=True)
        return model.eval().requires_grad_(False)

    def _state(self, path: PathRecipe, parts: list[Any]) -> dict[str, Tensor]:
        states = [_own_state(part) for part in parts]
        layout = lay_out(path, states[0], self._config)
        return {
            name: folded(states[taken.part][taken.name], taken.fold, taken.stream) for name, taken in layout.items()
        }

    def _part(self, recipe: WeightMerge) -> Any:
        if recipe.digest not in self._parts:
            self._parts[recipe.digest] = self._built_part(recipe)
        return self._parts[recipe.digest]

    @torch.no_grad()
    def _built_part(self, recipe: WeightMerge) -> Any:
        """A part as a model: weights that a file has as they are wanted are views of it, all others are merged."""
        load = loader(recipe, self._checkpoints)
        model = build_empty_model(self._config_source, self._dtype, "cpu")
        weights, own = stored_weights(model), _own_state(model)
        by_weight = {id(weight): name for name, weight in own.items()}
        mapped: dict[str, Tensor] = {}
        for name, place in places(
            schema_of_model(model), {one: self._checkpoints[one] for one in recipe.origins}
        ).items():
            weight = weights[place]
            stored = load(recipe.sources[0], name)
            if recipe.is_single and id(weight) in by_weight and stored.dtype == TORCH_DTYPES[self._dtype]:
                mapped[by_weight[id(weight)]] = stored
            else:
                weight.copy_(merge_tensor(recipe, name, load))
        model.load_state_dict(mapped, strict=False, assign=True)
        model.tie_weights()
        return model.to(self._device).eval().requires_grad_(False)


def _own_state(model: Any) -> dict[str, Tensor]:
    """The state dict without the names that are tied to others."""
    tied = set(model.all_tied_weights_keys)
    return {name: weight for name, weight in model.state_dict(keep_vars=True).items() if name not in tied}


def _tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _take_buffers(model: Any, path: PathRecipe, parts: list[Any]) -> None:
    """Give the model what transformers computes from a config (rotations, masks), as the parts have it."""
    computed = [dict(part.named_buffers()) for part in parts]
    for name, buffer in list(model.named_buffers()):
        if not buffer.is_meta:
            continue
        layer = parse_name(name).layer
        part, own = (path.embedding, name)
        if layer is not None:
            part, own = path.hops[layer].part, renumbered(name, path.hops[layer].layer)
        if own in computed[part]:
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, computed[part][own])
