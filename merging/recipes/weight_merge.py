"""Merges of weights: tensor by tensor, by one method."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from merging.dtypes import DTYPES
from merging.errors import MergingError
from merging.identity import ModelId
from merging.methods import METHODS
from merging.partition import Partition
from merging.recipes.last_stage import LastStage

if TYPE_CHECKING:
    from merging.kinds.kind import LiveCandidates
    from merging.recipes.path import Hop
    from merging.sources.weights import Weights
    from merging.writing.file_plan import FilePlan

UNCHANGED: Mapping[str, tuple[float, ...]] = {"normalize": (1.0,), "weight": (1.0,)}
"""The values with which a linear merge gives its one source back."""

Parameters = tuple[tuple[str, tuple[tuple[float, ...], ...]], ...]


@dataclass(frozen=True)
class TensorMerge:
    """The merge of one tensor.

    values: each parameter's values, one per source, or a single one that all share. last_stage: what is added to the
    result, where its adapter changes this tensor.
    """

    method: str
    sources: tuple[ModelId, ...]
    base: ModelId | None
    values: Mapping[str, tuple[float, ...]]
    last_stage: LastStage | None = None


def merge_by_holders(
    merge: TensorMerge, lacking: Collection[ModelId], carrier: ModelId | None, tensor_name: str
) -> TensorMerge:
    """The merge of a tensor by the models that have it.

    Where the method cannot merge them, because there are too few or because the base lacks it, the tensor is that of
    the only source that has it; else of the base, or of the carrier.

    lacking: models that do not have it. MergingError if no model has it.
    """
    method = METHODS[merge.method]
    kept = [index for index, source in enumerate(merge.sources) if source not in lacking]
    sources = tuple(merge.sources[index] for index in kept)
    base = None if merge.base in lacking else merge.base
    values = {
        name: tuple(row[index] for index in kept) if method.parameters[name].per_source else row
        for name, row in merge.values.items()
    }
    enough = len(sources) >= method.min_sources and (len(sources) > 1 or base is not None)
    if enough and base == merge.base and any(values.get("weight", (1.0,))):
        return TensorMerge(merge.method, sources, base, values)
    only = sources[0] if len(sources) == 1 and base is None else None
    found = next((model for model in (only, base, carrier, *sources) if model is not None), None)
    if found is None:
        raise MergingError(f"tensor {tensor_name}: no merged model has it, and there is no carrier that gives it")
    return TensorMerge("linear", (found,), None, UNCHANGED)


@dataclass(frozen=True)
class WeightMerge:
    """One merge of the weights of several models.

    sources: the merged models, in order (slerp goes from the first, t = 0, to the second, t = 1).
    base: the model that task vectors are differences from; None for methods that have none.
    groups: the partition of the tensors; tensors of one group share every parameter.
    parameters: sorted by name; each is (name, rows): a row per source (one row for what all share, as slerp's
        "t"), and in it a value per group. Parameters that have their default everywhere are left out.
    dtype: dtype of the live model and of the release; the sums themselves are done in float32.
    seed: seed of the draws of methods that draw; others do not read it.
    vocabulary: the models that decide on the vocabulary where those of the merged models differ: their tokens together,
        the leading model first (`plan_vocabulary`'s `among`). Empty where all models have the same.
    carrier: the model that gives the components that no merged model has, and the names of the written tensors; None
        where every model has all of them.
    last_stage: the adapter that is added to the merge; None for none.
    steps, size: the number of steps in which an image generator draws, and the side of a square of about as many pixels
        as its pictures have; None: as each task says. They change no weight.
    """

    KIND: ClassVar = "weight_merge"

    method: str
    sources: tuple[ModelId, ...]
    base: ModelId | None
    groups: Partition
    parameters: Parameters
    dtype: str
    seed: int
    vocabulary: tuple[ModelId, ...] = ()
    carrier: ModelId | None = None
    last_stage: LastStage | None = None
    steps: int | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        # Equal recipes must have equal digests: adding 0.0 turns an int into a float and -0.0 into 0.0.
        numbers = tuple(
            (name, tuple(tuple(value + 0.0 for value in row) for row in rows)) for name, rows in sorted(self.parameters)
        )
        object.__setattr__(self, "parameters", numbers)
        # For the same reason, who lacks a component is told of its own models alone: a pool may have others.
        object.__setattr__(self, "groups", self.groups.lacking_among(self.merged_models))
        _check_method(self)
        _check_parameters(self)
        kept = tuple((name, rows) for name, rows in numbers if not _is_default(self.method, name, rows))
        object.__setattr__(self, "parameters", kept)

    @classmethod
    def single(
        cls,
        source: ModelId,
        groups: Partition,
        dtype: str,
        vocabulary: tuple[ModelId, ...] = (),
        carrier: ModelId | None = None,
    ) -> WeightMerge:
        """The recipe that gives a source back unchanged, but for its vocabulary if one is given.

        One that lacks components has the carrier's.
        """
        weights = ((1.0,) * len(groups.labels),)
        return cls("linear", (source,), None, groups, (("weight", weights),), dtype, 0, vocabulary, carrier)

    @property
    def is_single(self) -> bool:
        """Whether it gives a source back unchanged, but for its vocabulary."""
        alone = WeightMerge.single(self.sources[0], self.groups, self.dtype, self.vocabulary, self.carrier)
        return self == alone and set(self.groups.whole_sources) <= {self.sources[0]}

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's canonical JSON."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def merged_models(self) -> tuple[ModelId, ...]:
        """Every model that is merged: the base, if any, the sources, then those that give a whole component."""
        base = () if self.base is None else (self.base,)
        carrier = () if self.carrier is None else (self.carrier,)
        return tuple(dict.fromkeys((*base, *self.sources, *self.groups.whole_sources, *carrier)))

    @cached_property
    def origins(self) -> tuple[ModelId, ...]:
        """Every model that the merge reads: those merged, those that may give rows for tokens that others lack, and
        the one whose adapter is the last stage.
        """
        stage = (self.last_stage.adapted,) if self.last_stage else ()
        return tuple(dict.fromkeys((*self.merged_models, *self.vocabulary, *stage)))

    @property
    def depth(self) -> int:
        """Number of layers of the merged model."""
        return self.groups.layers

    @property
    def layers(self) -> tuple[int, ...]:
        """The number that each layer has in the sources, in order."""
        return tuple(range(self.depth))

    @property
    def parts(self) -> tuple[WeightMerge, ...]:
        """The merge itself."""
        return (self,)

    @property
    def merges(self) -> tuple[WeightMerge, ...]:
        """The merge itself."""
        return (self,)

    @property
    def hops(self) -> tuple[Hop, ...]:
        """None: every layer keeps its place."""
        return ()

    @property
    def embedding(self) -> int:
        """The index of its only part."""
        return 0

    @property
    def head(self) -> int:
        """The index of its only part."""
        return 0

    def describe(self) -> str:
        """The kind of merge in a few words: its method, the adapter of its last stage, its steps and its size."""
        stage = f", then {self.last_stage.adapter.location}" if self.last_stage else ""
        return ", ".join(filter(None, (f"{self.method}{stage}", self.describe_drawing())))

    def describe_drawing(self) -> str:
        """`in 4 steps, about 768 × 768 pixels`: what was found for drawing; "" if tasks say it."""
        steps = "" if self.steps is None else f"in {self.steps} step{'s' if self.steps > 1 else ''}"
        size = "" if self.size is None else f"about {self.size} × {self.size} pixels"
        return ", ".join(filter(None, (steps, size)))

    def plan_files(self, weights: Mapping[ModelId, Weights], config_source: Path) -> FilePlan:
        """Plan the written model, as `plan_weight_merge` does."""
        from merging.writing.weight_merge import (
            plan_weight_merge,
        )  # imported here, because recipes are read without torch

        return plan_weight_merge(self, weights, config_source)

    def live_model(self, models: LiveCandidates) -> Any:
        """The live model with the weights of this merge."""
        return models.merged(self)

    def with_models(self, models: Mapping[ModelId, ModelId]) -> WeightMerge:
        """The same merge of other models, components taken whole included."""

        def place(model: ModelId) -> ModelId:
            return models.get(model, model)

        return replace(
            self,
            sources=tuple(map(place, self.sources)),
            base=None if self.base is None else place(self.base),
            groups=self.groups.with_models(models),
            vocabulary=tuple(map(place, self.vocabulary)),
            carrier=None if self.carrier is None else place(self.carrier),
            last_stage=self.last_stage and self.last_stage.with_models(models),
        )

    def regrouped(self, groups: Partition, tensor_names: Sequence[str]) -> WeightMerge:
        """The same merge with values for other groups; components that it takes whole stay whole.

        A group without tensors gets the values of the first group. MergingError as `Recipe` says.
        """
        every = groups.merged.complete
        if self.groups.merged.complete in (every, every.single_group):
            return self
        whole = {name: source for name, source in self.groups.whole.items() if source is not None}
        target = groups.merged.taking(whole)
        columns: dict[int, int] = {}
        for name in tensor_names:
            if target.whole_source(name) is not None:
                continue
            group, column = target.group(name), self.groups.group(name)
            first = columns.setdefault(group, column)
            if any(row[column] != row[first] for _, rows in self.parameters for row in rows):
                raise MergingError(f"groups: {target.labels[group]} has tensors with different values of this merge")
        chosen = [columns.get(group, 0) for group in range(len(target.labels))]
        parameters = tuple(
            (name, tuple(tuple(row[column] for column in chosen) for row in rows)) for name, rows in self.parameters
        )
        return replace(self, groups=target, parameters=parameters)

    def tensor_merge(self, tensor_name: str) -> TensorMerge:
        """The merge of one tensor; one that is taken whole from a source is that source alone.

        Sources that lack its component take no part in it, as `merge_by_holders` says.
        """
        merge = self._merge_alone(tensor_name)
        return merge if self.last_stage is None else replace(merge, last_stage=self.last_stage)

    def _merge_alone(self, tensor_name: str) -> TensorMerge:
        """The merge of one tensor without the last stage."""
        whole = self.groups.whole_source(tensor_name)
        if whole is not None:
            return TensorMerge("linear", (whole,), None, UNCHANGED)
        values = {parameter: self.values(parameter, tensor_name) for parameter in METHODS[self.method].parameters}
        merge = TensorMerge(self.method, self.sources, self.base, values)
        lacking = self.groups.lacked_by(tensor_name)
        return merge_by_holders(merge, lacking, self.carrier, tensor_name) if lacking else merge

    def values(self, parameter: str, tensor_name: str) -> tuple[float, ...]:
        """A parameter's values for one merged tensor, one per source (a single one where all share it)."""
        group = self.groups.group(tensor_name)
        return tuple(row[group] for row in self.rows(parameter))

    def rows(self, parameter: str) -> tuple[tuple[float, ...], ...]:
        """A parameter's rows, one per source (a single one where all share it); defaults where it is left out."""
        return self._every_row[parameter]

    @cached_property
    def _every_row(self) -> Mapping[str, tuple[tuple[float, ...], ...]]:
        width, given = len(self.groups.labels), dict(self.parameters)
        return {
            name: given.get(name)
            or ((parameter.default or 0.0,) * width,) * (len(self.sources) if parameter.per_source else 1)
            for name, parameter in METHODS[self.method].parameters.items()
        }

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; from_json reads them back to an equal recipe."""
        return {
            "kind": self.KIND,
            "method": self.method,
            "sources": [source.to_json() for source in self.sources],
            "base": None if self.base is None else self.base.to_json(),
            "groups": self.groups.to_json(),
            "parameters": {name: [list(row) for row in rows] for name, rows in self.parameters},
            "dtype": self.dtype,
            "seed": self.seed,
            **({"vocabulary": [model.to_json() for model in self.vocabulary]} if self.vocabulary else {}),
            **({"carrier": self.carrier.to_json()} if self.carrier else {}),
            **({"last_stage": self.last_stage.to_json()} if self.last_stage else {}),
            **({} if self.steps is None else {"steps": self.steps}),
            **({} if self.size is None else {"size": self.size}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WeightMerge:
        """Read what to_json wrote; anything else raises MergingError."""
        try:
            return cls(
                method=data["method"],
                sources=tuple(map(ModelId.from_json, data["sources"])),
                base=None if data["base"] is None else ModelId.from_json(data["base"]),
                groups=Partition.from_json(data["groups"]),
                parameters=tuple(
                    (name, tuple(tuple(row) for row in rows)) for name, rows in data["parameters"].items()
                ),
                dtype=data["dtype"],
                seed=data["seed"],
                vocabulary=tuple(map(ModelId.from_json, data.get("vocabulary", ()))),
                carrier=ModelId.from_json(data["carrier"]) if "carrier" in data else None,
                last_stage=LastStage.from_json(data["last_stage"]) if "last_stage" in data else None,
                steps=data.get("steps"),
                size=data.get("size"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MergingError(f"recipe: not as shoal writes it ({type(error).__name__}: {error})") from error


def _check_method(recipe: WeightMerge) -> None:
    method = METHODS.get(recipe.method)
    if method is None:
        raise MergingError(f"method: got {recipe.method!r}: use one of {', '.join(METHODS)}")
    if recipe.dtype not in DTYPES:
        raise MergingError(f"dtype: got {recipe.dtype!r}: use one of {', '.join(DTYPES)}")
    most = method.max_sources or len(recipe.sources)
    if not method.min_sources <= len(recipe.sources) <= most:
        wanted = f"exactly {most}" if method.max_sources else f"at least {method.min_sources}"
        raise MergingError(f"sources: got {len(recipe.sources)}: {recipe.method} needs {wanted}")
    if method.needs_base and recipe.base is None:
        raise MergingError(f"base: got none: {recipe.method} merges differences from a base model, name it")
    if not method.reads_base and recipe.base is not None:
        raise MergingError(f"base: got {recipe.base}: {recipe.method} does not read one, leave it out")
    merged = (*([recipe.base] if recipe.base else []), *recipe.sources)
    if len(set(merged)) != len(merged):
        raise MergingError(f"sources: got {', '.join(map(str, merged))}: name each model once")
    if len(set(recipe.vocabulary)) != len(recipe.vocabulary):
        raise MergingError(f"vocabulary: got {', '.join(map(str, recipe.vocabulary))}: name each model once")
    for key, number in (("steps", recipe.steps), ("size", recipe.size)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise MergingError(f"{key}: got {number!r}: give a whole number of at least 1")
    if recipe.groups.open:
        raise MergingError(f"groups: got no source for {', '.join(recipe.groups.open)}: name the one to take it from")


def _check_parameters(recipe: WeightMerge) -> None:
    expected = METHODS[recipe.method].parameters
    given = [name for name, _ in recipe.parameters]
    needed = {name for name, parameter in expected.items() if parameter.default is None}
    if not needed <= set(given) <= set(expected) or len(set(given)) != len(given):
        takes = ", ".join(sorted(expected)) or "none"
        raise MergingError(f"parameters: got {', '.join(given) or 'none'}: {recipe.method} takes {takes}")
    width = len(recipe.groups.labels)
    for name, rows in recipe.parameters:
        height = len(recipe.sources) if expected[name].per_source else 1
        if len(rows) != height or any(len(row) != width for row in rows):
            shape = f"rows of {', '.join(str(len(row)) for row in rows)} values"
            raise MergingError(f"parameters.{name}: got {shape}: {height} rows of {width} groups are needed")
    for group, label in enumerate(recipe.groups.labels):
        values = {name: tuple(row[group] for row in recipe.rows(name)) for name in expected}
        METHODS[recipe.method].check_values(values, label)


def _is_default(method: str, name: str, rows: tuple[tuple[float, ...], ...]) -> bool:
    default = METHODS[method].parameters[name].default
    return default is not None and all(value == default for row in rows for value in row)
