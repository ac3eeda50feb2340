"""One transformers model in memory that becomes one candidate after another, without touching the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from merging.errors import MergingError
from merging.merge_tensor import loader, merge_tensor
from merging.methods import Measurements
from merging.models.building import build_empty_model, schema_of_model, stored_weights
from merging.models.schema import places
from merging.recipes.weight_merge import METHODS, ModelId, WeightMerge
from merging.sources.checkpoint import Checkpoint

_Formula = tuple[object, ...]
"""All that one tensor's merge depends on, but for the checkpoints."""


class LiveModel:
    """A causal language model built once; `become` rewrites its weights in place.

    skeleton: folder of the config and the generation config. Give the release's writer the same one.
    checkpoints: every source and base that recipes will name.
    dtype: of the model, and of every recipe it becomes.
    The weights are undefined until the first `become`. Sums are done on the CPU whatever the device, so that
    a written release, which is merged on the CPU too, has the same bits.
    """

    def __init__(
        self, config_source: Path, checkpoints: Mapping[ModelId, Checkpoint], *, dtype: str, device: str = "cpu"
    ) -> None:
        self._checkpoints = checkpoints
        self._dtype = dtype
        self.model: Any = build_empty_model(config_source, dtype, "cpu")
        if (config_source / "generation_config.json").is_file():
            self.model.generation_config = GenerationConfig.from_pretrained(config_source, local_files_only=True)
        self.model.to(device).eval().requires_grad_(False)
        weights = stored_weights(self.model)
        self._weights = {
            name: weights[place] for name, place in places(schema_of_model(self.model), checkpoints).items()
        }
        self._formulas: Mapping[str, _Formula] = {}
        self._measurements = Measurements()

    def become(self, recipe: WeightMerge) -> tuple[str, ...]:
        """Rewrite the weights that the recipe gives other values than the last one did; returns their stored names.

        Nothing is reallocated, tied weights stay tied. As many tensors are merged at once as torch has threads.
        MergingError for a recipe of another dtype, of an unknown source, or whose merge is not finite (the
        model is then half rewritten: become another recipe before using it, which writes every weight).
        """
        if recipe.dtype != self._dtype:
            raise MergingError(f"dtype: got {recipe.dtype}: this live model was built in {self._dtype}")
        loader(recipe, self._checkpoints)  # an unknown source is refused before anything is written
        formulas = {name: _formula(recipe, name) for name in self._weights}
        changed = tuple(name for name, formula in formulas.items() if self._formulas.get(name) != formula)
        self._formulas = {}
        self._rewrite(recipe, changed)
        self._formulas = formulas
        return changed

    def _rewrite(self, recipe: WeightMerge, names: Iterable[str]) -> None:
        """Merge tensors into their weights, the largest first, so that all threads are done at about the same time."""
        ordered = sorted(names, key=lambda name: -self._weights[name].numel())
        threads = torch.get_num_threads()
        if threads == 1 or len(ordered) < 2:
            for name in ordered:
                self._write(recipe, name)
            return
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for _ in pool.map(lambda name: self._write(recipe, name), ordered):
                    pass
        finally:
            torch.set_num_threads(threads)  # some of it is set for the whole process, not for a thread

    @torch.no_grad()
    def _write(self, recipe: WeightMerge, name: str) -> None:
        weight = self._weights[name]
        into = weight if weight.is_cpu and weight.is_contiguous() else None
        merged = merge_tensor(recipe, name, loader(recipe, self._checkpoints), self._measurements, into=into)
        if merged is not weight:
            weight.copy_(merged)


def _formula(recipe: WeightMerge, name: str) -> _Formula:
    method = METHODS[recipe.method]
    values = {parameter: recipe.values(parameter, name) for parameter in method.parameters}
    shared = tuple(row for parameter, row in values.items() if not method.parameters[parameter].per_source)
    own = (row for parameter, row in values.items() if method.parameters[parameter].per_source)
    sources = tuple(zip(recipe.sources, *own, strict=True))
    if method.skips_unweighted:
        sources = tuple(source for source, weight in zip(sources, values["weight"], strict=True) if weight)
    return recipe.method, sources, recipe.base, shared, recipe.seed if method.draws else None
