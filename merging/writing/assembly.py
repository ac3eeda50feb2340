"""What is to be written: every tensor of the result with its shape and how it is made, and the result's config.json.

Layer l of the result is made from layer k of each model of a slice. Which tensors there are is asked of transformers,
which builds the result's and the models' skeletons; no family of models is known by name here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.merge_tensor import TORCH_DTYPES, merge_inputs
from merging.mergekit.config import ConfigFaults, Fault, Input, MergeConfig, ModelName, Slice
from merging.mergekit.parameters import roles
from merging.mergekit.settings import first_value
from merging.method_specs import METHODS, check_values
from merging.methods import Draw, Inputs
from merging.models.building import outline
from merging.models.layer_config import layer_total, stacked_config
from merging.models.schema import ModelSchema
from merging.models.stored_model import HeaderOnlyWeights, StoredModel
from merging.partition import parse_name, renumbered
from merging.sources.family import TensorHeader
from merging.tokenizers.vocabulary import Vocabulary
from merging.writing.shards import Merge

Load = Callable[[ModelName, str], Tensor]
"""Gives a model's tensor by the name under which it is stored."""

_DTYPE_OF = {"BF16": "bfloat16", "F16": "float16"}
_CODE_OF = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


@dataclass(frozen=True)
class TensorTask:
    """How one tensor of the result is made.

    sources: each model with the name of its tensor there, in the order that the method asks for.
    values: parameter → a value per source, or a single one for all of them.
    """

    shape: tuple[int, ...]
    sources: tuple[tuple[ModelName, str], ...]
    base: tuple[ModelName, str] | None
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Assembly:
    """tasks: by the tensor's name in the result. vocabulary: those of them that have a row per token."""

    method: str
    tasks: Mapping[str, TensorTask]
    vocabulary: frozenset[str]
    dtype: str
    config: Mapping[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor, in the order of writing."""
        return {name: task.shape for name, task in self.tasks.items()}

    @property
    def stored_model(self) -> StoredModel:
        """The result as a model that another merge reads: its tensors are stored as they are called here."""
        headers = {name: TensorHeader(name, shape, _CODE_OF[self.dtype]) for name, shape in self.shapes.items()}
        return StoredModel(self.config, headers, self.vocabulary)

    def maker(self, load: Load, names: Mapping[ModelName, str], seed: int) -> Merge:
        """The function that makes a tensor of the result: summed in float32, rounded once to `dtype`.

        names: what random draws are keyed by, beside the seed and the tensor's name. MergingError if the values
        of a tensor are not finite.
        """

        def make(name: str, memory: Tensor) -> Tensor:
            task = self.tasks[name]
            base = task.base
            once = cache(load)  # methods ask again and again, and adapters and vocabularies would compute anew
            inputs = Inputs(
                values=task.values,
                load=lambda source: once(*task.sources[source]),
                load_base=None if base is None else lambda: once(*base),
                draw=Draw(seed, name, tuple(names[model] for model, _ in task.sources)),
                dtype=TORCH_DTYPES[self.dtype],
                base="" if base is None else names[base[0]],
                into=memory,
            )
            return merge_inputs(self.method, inputs)

        return make


class AssembledWeights(HeaderOnlyWeights):
    """A merge that another one reads as it reads a model; a `Weights`.

    A tensor is made each time that it is asked for: the merge is never whole, in memory or on the disk.
    """

    def __init__(self, label: str, assembly: Assembly, make: Merge) -> None:
        """make: what `assembly.maker` gives. label: what errors call the merge."""
        super().__init__(label, assembly.stored_model.stored)
        self._dtype = TORCH_DTYPES[assembly.dtype]
        self._make = make

    def tensor(self, name: str) -> Tensor:
        """A tensor, made anew."""
        header = self.header(name)
        return self._make(header.name, torch.empty(header.shape, dtype=self._dtype))

    def verify(self) -> None:
        """Make every tensor once; MergingError names one that is not finite."""
        for name in self.names:
            self.tensor(name)


@dataclass(frozen=True)
class _Layer:
    """A layer of the result: its slice, the layer that is taken of each input, and where in the slice it stands."""

    slice: Slice
    taken: tuple[int, ...]
    position: float

    @property
    def pairs(self) -> list[tuple[Input, int]]:
        """The inputs, each with its layer."""
        return list(zip(self.slice.inputs, self.taken, strict=True))


def assemble(
    config: MergeConfig, stored_models: Mapping[ModelName, StoredModel], vocabulary: Vocabulary | None = None
) -> Assembly:
    """Plan every tensor of the result.

    vocabulary: the result's, where it is built anew; None: all models must have the same.

    Raises:
        ConfigFaults: layers that a model does not have, and parameters without a value, by key.
        MergingError: tensors missing or of another shape, a line for each model.
    """
    layers = tuple(_layers(config, stored_models))
    settled = _result_config(config, stored_models, layers, vocabulary)
    planned = outline(settled, "the merged config.json")
    planner = _Planner(config, stored_models, planned, layers, any_rows=vocabulary is not None)
    tasks = {name: planner.task(name) for name in planned.untied}
    planner.note_leftovers(tasks.values())
    if planner.faults:
        raise ConfigFaults(tuple(planner.faults))
    if planner.misfits:
        raise MergingError("\n".join(planner.misfits.values()))
    return Assembly(config.method, tasks, planned.vocabulary & planned.untied.keys(), str(settled["dtype"]), settled)


def _layers(config: MergeConfig, stored_models: Mapping[ModelName, StoredModel]) -> Iterator[_Layer]:
    """The result's layers in order; ConfigFaults for those that a model does not have."""
    faults, found = [], []
    for one in config.slices:
        ranges = []
        for entry in one.inputs:
            depth = layer_total(stored_models[entry.model].config, str(entry.model))
            ranges.append(range(*(entry.layers or (0, depth))))
            if ranges[-1].stop > depth:
                why = f"{entry.model} has {depth} layers; the end is not included, so {depth} is the most"
                faults.append(Fault((*entry.place, "layer_range"), str(list(entry.layers or ())), why))
        lengths = {len(taken) for taken in ranges}
        if len(lengths) > 1:
            counts = ", ".join(f"{entry.model} {len(taken)}" for entry, taken in zip(one.inputs, ranges, strict=True))
            faults.append(Fault(one.place, f"models of unequal depth ({counts})", "choose layers with `slices`"))
        last = max(len(ranges[0]) - 1, 1)
        for offset, taken in enumerate(zip(*ranges, strict=False)):
            found.append(_Layer(one, taken, offset / last if len(ranges[0]) > 1 else 1.0))
    if not (found or faults):
        faults.append(Fault(("slices",), "no layers", "give at least one slice with a layer"))
    if faults:
        raise ConfigFaults(faults)
    yield from found


def _result_config(
    config: MergeConfig,
    stored_models: Mapping[ModelName, StoredModel],
    layers: Sequence[_Layer],
    vocabulary: Vocabulary | None,
) -> dict[str, Any]:
    config_source = stored_models[config.config_source].config
    origins = [
        [(stored_models[entry.model].config, taken) for entry, taken in _leading_first(layer)] for layer in layers
    ]
    settled = stacked_config(config_source, origins, str(config.config_source))
    dtype = config.dtype or _widest(stored_models)
    # Both names are in use: "torch_dtype" is what older versions write and read.
    settled |= dict.fromkeys(("torch_dtype", "dtype") if "torch_dtype" in settled else ("dtype",), dtype)
    settled.pop("_name_or_path", None)  # a folder on somebody's machine
    return settled if vocabulary is None else vocabulary.settled(settled)


def _leading_first(layer: _Layer) -> list[tuple[Input, int]]:
    """The inputs of a layer, the base or else the first of them leading."""
    return sorted(layer.pairs, key=lambda pair: pair[0].model != layer.slice.base)


def _widest(stored_models: Mapping[ModelName, StoredModel]) -> str:
    """The dtype that holds the weights of all models; float64 is stored as float32."""
    found = {header.dtype for stored_model in stored_models.values() for header in stored_model.stored.values()}
    return _DTYPE_OF.get(*found, "float32") if len(found) == 1 else "float32"  # type: ignore[call-overload]


class _Planner:
    """Plans tensor by tensor, and gathers what is wrong on the way."""

    def __init__(
        self,
        config: MergeConfig,
        stored_models: Mapping[ModelName, StoredModel],
        planned: ModelSchema,
        layers: Sequence[_Layer],
        *,
        any_rows: bool,
    ) -> None:
        self.config = config
        self.stored_models = stored_models
        self.outline = planned
        self.layers = layers
        self.any_rows = any_rows
        self.faults: dict[Fault, None] = {}
        self.misfits: dict[ModelName, str] = {}

    def task(self, name: str) -> TensorTask:
        layer = self.layer_of(name)
        names = {entry.model: renumbered(name, taken) for entry, taken in layer.pairs}
        stored = {model: self.stored(model, own, name) for model, own in names.items()}
        sources, base = roles(self.config.method, tuple(names), layer.slice.base)
        return TensorTask(
            shape=self.outline.shapes[name],
            sources=tuple((model, stored[model]) for model in sources),
            base=None if base is None else (base, stored[base]),
            values=self.values(name, names, sources, layer),
        )

    def layer_of(self, name: str) -> _Layer:
        """The layer that a tensor goes with: its own; the embeddings with the first, what is behind with the last."""
        place = parse_name(name)
        if place.layer is not None:
            return self.layers[place.layer]
        end = self.config.slices[0 if place.is_embedding else -1]
        return _Layer(end, (0,) * len(end.inputs), 0.0 if place.is_embedding else 1.0)

    def stored(self, model: ModelName, own: str, name: str) -> str:
        """The name under which a model's files have a tensor; one that does not fit is noted."""
        header = self.stored_models[model].stored.get(own)
        wanted = self.outline.shapes[name]
        if header is None:
            if model not in self.misfits:
                self.misfits[model] = f"{model}: {self.lacking(model, own, name)}"
            return own
        by_token = name in self.outline.vocabulary
        if by_token and not self.any_rows and header.shape[0] != wanted[0]:
            rows = f"{model}: its {own} has {header.shape[0]} rows, that of {self.config.config_source} {wanted[0]}"
            self.misfits.setdefault(model, f"{rows}: add `tokenizer_source: union` to merge vocabularies")
        elif header.shape[by_token:] != wanted[by_token:]:
            sizes = f"{list(header.shape)}, not {list(wanted)} as in {self.config.config_source}"
            self.misfits.setdefault(model, f"{model}: its {own} is {sizes}: these models do not fit together")
        return header.name

    def lacking(self, model: ModelName, own: str, name: str) -> str:
        """Why a model has no such tensor; it may have it in other layers, where some have experts and some have not."""
        stored, place = self.stored_models[model].stored, parse_name(own).layer
        others = (parse_name(other).layer for other in stored)
        if place is None or not any(renumbered(own, layer) in stored for layer in others if layer is not None):
            return f"it has no tensor {own}"
        return (
            f"its layer {place} is taken for layer {parse_name(name).layer}, but has no {own}: layers of this "
            "model differ by position (dense or MoE); choose a layer of the same kind"
        )

    def note_leftovers(self, tasks: Iterable[TensorTask]) -> None:
        """A tensor that the result has no place for, in a layer or at an end that is taken, is noted."""
        used = {part for task in tasks for part in (*task.sources, *([task.base] if task.base else []))}
        taken = {(entry.model, number) for one in self.layers for entry, number in one.pairs}
        ends = [{entry.model for entry in self.config.slices[end].inputs} for end in (0, -1)]
        for model, stored_model in self.stored_models.items():
            for name, header in stored_model.stored.items():
                place = parse_name(name)
                asked = model in ends[not place.is_embedding] if place.layer is None else (model, place.layer) in taken
                if asked and (model, header.name) not in used:
                    why = f"it has {name}, for which a model like {self.config.config_source} has no place"
                    self.misfits.setdefault(model, f"{model}: {why}")

    def values(
        self, name: str, names: Mapping[ModelName, str], sources: Sequence[ModelName], layer: _Layer
    ) -> dict[str, tuple[float, ...]]:
        """Every parameter's values; filters see the names that tensors have in their own models."""
        common = (layer.slice.settings, *self.config.settings)
        entries = {entry.model: entry for entry in layer.slice.inputs}
        found = {}
        for parameter, rule in METHODS[self.config.method].parameters.items():
            if rule.per_source:
                near = [(names[model], (entries[model].settings, *common), entries[model].place) for model in sources]
            else:
                near = [(name, common, layer.slice.place)]
            row = []
            for tensor, settings, place in near:
                value = first_value((scope.get(parameter) for scope in settings), tensor, layer.position)
                value = rule.default if value is None else value
                if value is None:
                    why = f"{self.config.method} needs it for {tensor}"
                    self.note_once(Fault((*place, "parameters", parameter), "nothing", why))
                row.append(float(value or 0))
            found[parameter] = tuple(row)
        self.check(found, name, layer.slice)
        return found

    def check(self, values: Mapping[str, tuple[float, ...]], name: str, one: Slice) -> None:
        if self.faults:
            return  # values that are missing stand as zeros
        try:
            check_values(self.config.method, values, name)
        except MergingError as error:
            where, _, why = str(error).partition(": got ")
            got, _, remedy = why.rpartition(": ")
            self.note_once(Fault((*one.place, *where.split(".")), got, remedy))

    def note_once(self, fault: Fault) -> None:
        """Keep the first fault of each key."""
        if all(fault.path != other.path for other in self.faults):
            self.faults[fault] = None
