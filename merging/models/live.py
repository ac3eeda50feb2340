"""Models in memory that become one candidate after another, without touching the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel

from merging.dtypes import torch_dtype
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kernels.inputs import Measurements
from merging.merge_tensor import make_loader, merge_tensor
from merging.methods import METHODS
from merging.models.building import build_empty_model, read_schema, stored_weights
from merging.models.carrier import carry, check_carrier, find_carrier
from merging.models.schema import match_tensors
from merging.partition import Partition
from merging.paths.live import PathModels
from merging.recipes.path import PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.weights import Weights

_Formula = tuple[object, ...]
"""Everything that one tensor's merge depends on, except for the sources' weights."""


class LiveWeights:
    """Weights in memory, undefined until `become` rewrites them in place.

    weights: by the names that merges have for them. sources: the weights of every source and base that recipes will
    name, by the same names. dtype: of every recipe.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], sources: Mapping[ModelId, Weights], dtype: str) -> None:
        self._weights, self._sources, self._dtype = weights, sources, dtype
        self._formulas: Mapping[str, _Formula] = {}
        self._measurements = Measurements()
        self._known_groups: dict[Partition, Partition] = {}

    def become(self, recipe: WeightMerge) -> tuple[str, ...]:
        """Rewrite the weights whose merge differs from the last recipe's; returns their stored names.

        Nothing is reallocated, tied weights stay tied. As many tensors are merged at once as torch has threads.
        MergingError for a recipe of another dtype, of an unknown source, or whose merge is not finite (the
        model is then half rewritten: become another recipe before using it, which writes every weight).
        """
        if recipe.dtype != self._dtype:
            raise MergingError(f"dtype: got {recipe.dtype}: this live model was built in {self._dtype}")
        make_loader(recipe, self._sources)  # an unknown source is refused before anything is written
        recipe = self._with_known_groups(recipe)
        formulas = self._find_formulas(recipe)
        changed = tuple(name for name, formula in formulas.items() if self._formulas.get(name) != formula)
        self._formulas = {}
        self._rewrite(recipe, changed)
        self._formulas = formulas
        return changed

    def _with_known_groups(self, recipe: WeightMerge) -> WeightMerge:
        """The recipe with a partition that was checked, and that has looked up the groups of all tensors, before."""
        groups = self._known_groups.get(recipe.groups)
        if groups is None:
            groups = recipe.groups
            groups.check_names(self._weights)
            self._known_groups[groups] = groups
        return recipe if groups is recipe.groups else replace(recipe, groups=groups)

    def _find_formulas(self, recipe: WeightMerge) -> dict[str, _Formula]:
        stage, of_shares, found = recipe.last_stage, dict[object, _Formula](), dict[str, _Formula]()
        for name in self._weights:
            share = recipe.groups.share(name)
            if share not in of_shares:
                of_shares[share] = _merge_formula(recipe, name)
            changed = stage is not None and self._sources[stage.adapted].may_change(name)
            found[name] = of_shares[share], stage if changed else None
        return found

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
        fits = weight.is_cpu and weight.is_contiguous() and weight.dtype == torch_dtype(recipe.dtype)
        into = weight if fits else None
        merged = merge_tensor(recipe, name, make_loader(recipe, self._sources), self._measurements, into=into)
        if merged is not weight:
            weight.copy_(merged)


class LiveModel:
    """A model built once; `become` rewrites its weights in place.

    config_source: folder of the config and the generation config. Give the release's writer the same one.
    sources: the weights of every source and base that recipes will name.
    dtype: dtype of the model, and of every recipe it becomes. carrier: that of every recipe, one of the sources; where
    none is given, the one whose folder is the config source.
    The weights are undefined until the first `become`. Sums are done on the CPU whatever the device, so that
    a written release, which is merged on the CPU too, has the same bits.
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
        self.model: PreTrainedModel = build_empty_model(config_source, dtype, "cpu")
        if (config_source / "generation_config.json").is_file():
            self.model.generation_config = GenerationConfig.from_pretrained(config_source, local_files_only=True)
        self.model.to(device).eval().requires_grad_(False)
        weights, schema = stored_weights(self.model), read_schema(self.model)
        self._carrier = carrier or find_carrier(schema, sources, config_source)
        carried = carry(schema, sources, self._carrier)
        places = match_tensors(schema, carried.values())
        self._live = LiveWeights({name: weights[place] for name, place in places.items()}, carried, dtype)

    def become(self, recipe: WeightMerge) -> tuple[str, ...]:
        """Rewrite the weights whose merge differs from the last recipe's, as `LiveWeights.become` does.

        MergingError also for a recipe in another carrier.
        """
        check_carrier(recipe, self._carrier)
        return self._live.become(recipe)


class LiveModels:
    """The models in memory that recipes of every kind become: one for merges of weights, and those of paths.

    config_source, sources, dtype, device, carrier: as for `LiveModel`, which is built at once; `MergingError` if it
    cannot be.
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
        self._live = LiveModel(config_source, sources, dtype=dtype, device=device, carrier=carrier)
        self._paths = PathModels(config_source, sources, dtype=dtype, device=device, carrier=carrier)

    @property
    def model(self) -> PreTrainedModel:
        """The live model of weight merges, whichever recipe it holds now."""
        return self._live.model

    def merged(self, recipe: WeightMerge) -> PreTrainedModel:
        """The live model with the weights of a merge. MergingError as `LiveModel.become` raises it."""
        self._live.become(recipe)
        return self._live.model

    def path(self, recipe: PathRecipe) -> PreTrainedModel:
        """The model of a path. MergingError as `PathModels.model` raises it."""
        return self._paths.model(recipe)


def _merge_formula(recipe: WeightMerge, name: str) -> _Formula:
    merge = recipe.tensor_merge(name)
    method = METHODS[merge.method]
    shared = tuple(row for parameter, row in merge.values.items() if not method.parameters[parameter].per_source)
    own = (row for parameter, row in merge.values.items() if method.parameters[parameter].per_source)
    sources = tuple(zip(merge.sources, *own, strict=True))
    if method.skips_unweighted:
        sources = tuple(source for source, weight in zip(sources, merge.values["weight"], strict=True) if weight)
    return merge.method, sources, merge.base, shared, recipe.seed if method.draws else None
