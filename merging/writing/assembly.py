"""The plan of a merge by mergekit's YAML: every tensor of the result with its inputs, and the result's config.json.

A layer of the result is made from one layer of each model of its slice. The tensors come from the schemas of the result
and the models as transformers builds them; no model family is known by name here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from merging.dtypes import CODES, DTYPES, NAMES, torch_dtype
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kernels.inputs import Draw, Inputs
from merging.merge_tensor import merge_inputs
from merging.mergekit.config import ConfigFault, ConfigFaults, Input, MergeConfig, Slice
from merging.mergekit.parameters import assign_roles
from merging.mergekit.settings import first_setting_value
from merging.methods import METHODS
from merging.models.building import build_schema
from merging.models.layer_config import read_depth, stack_config
from merging.models.schema import ModelSchema
from merging.models.stored_model import HeaderOnlyWeights, StoredModel
from merging.sources.family import TensorHeader
from merging.tensor_names import parse_name, renumber
from merging.tokenizers.vocabulary import Vocabulary
from merging.writing.shards import Merge

Load = Callable[[ModelId, str], Tensor]
"""Reads a model's tensor by its stored name."""


@dataclass(frozen=True)
class TensorTask:
    """The inputs of one tensor of the result.

    sources: (model, stored name of its tensor), in the order that the method needs.
    values: parameter → a value per source, or a single one for all of them.
    """

    shape: tuple[int, ...]
    sources: tuple[tuple[ModelId, str], ...]
    base: tuple[ModelId, str] | None
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Assembly:
    """The plan of a merge.

    tasks: tensor name in the result → task. vocabulary: names of the tensors with a row per token.
    config: the result's config.json.
    """

    method: str
    tasks: Mapping[str, TensorTask]
    vocabulary: frozenset[str]
    dtype: str
    config: Mapping[str, object]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name → shape, in the order of writing."""
        return {name: task.shape for name, task in self.tasks.items()}

    @property
    def stored_model(self) -> StoredModel:
        """The result as a model for another merge; its tensors are stored under their own names."""
        headers = {name: TensorHeader(name, shape, CODES[self.dtype]) for name, shape in self.shapes.items()}
        return StoredModel(self.config, headers, self.vocabulary)

    def maker(self, load: Load, names: Mapping[ModelId, str], seed: int) -> Merge:
        """The function that makes a tensor of the result: summed in float32, rounded once to `dtype`.

        names: model → key of its random draws, besides the seed and the tensor's name. The function raises MergingError
        for a tensor whose values are not finite.
        """

        def make(name: str, memory: Tensor) -> Tensor:
            task = self.tasks[name]
            base = task.base
            # Methods load a tensor several times; adapters and vocabularies would compute it each time.
            once = cache(load)
            inputs = Inputs(
                values=task.values,
                load=lambda source: once(*task.sources[source]),
                load_base=None if base is None else lambda: once(*base),
                draw=Draw(seed, name, tuple(names[model] for model, _ in task.sources)),
                dtype=torch_dtype(self.dtype),
                base="" if base is None else names[base[0]],
                into=memory,
            )
            return merge_inputs(self.method, inputs)

        return make


class AssembledWeights(HeaderOnlyWeights):
    """A merge as the input of another one.

    A tensor is made at each call: the merge is never whole in memory or on the disk.
    """

    def __init__(self, label: str, assembly: Assembly, make: Merge) -> None:
        """label: name of the merge in errors. make: the result of `assembly.maker`."""
        super().__init__(label, assembly.stored_model.stored)
        self._dtype = torch_dtype(assembly.dtype)
        self._make = make

    def tensor(self, name: str) -> Tensor:
        """Make a tensor."""
        header = self.header(name)
        return self._make(header.name, torch.empty(header.shape, dtype=self._dtype))

    def verify(self) -> None:
        """Make every tensor once; MergingError names one that is not finite."""
        for name in self.names:
            self.tensor(name)


@dataclass(frozen=True)
class _Layer:
    """A layer of the result: its slice, the layer that each input gives, and its position in the slice, from 0 to 1."""

    slice: Slice
    taken: tuple[int, ...]
    position: float

    @property
    def pairs(self) -> list[tuple[Input, int]]:
        """The inputs, each with its layer."""
        return list(zip(self.slice.inputs, self.taken, strict=True))


def assemble(
    config: MergeConfig, stored_models: Mapping[ModelId, StoredModel], vocabulary: Vocabulary | None = None
) -> Assembly:
    """Plan every tensor of the result.

    vocabulary: the result's vocabulary where the recipe chooses one; None where all models must have the same.

    Raises:
        ConfigFaults: layers that a model does not have, and parameters without a value, by key.
        MergingError: tensors missing or of another shape, a line for each model.
    """
    layers = tuple(_plan_layers(config, stored_models))
    result_config = _result_config(config, stored_models, layers, vocabulary)
    planned = build_schema(result_config, "the merged config.json")
    planner = _Planner(config, stored_models, planned, layers, any_rows=vocabulary is not None)
    tasks = {name: planner.task(name) for name in planned.untied}
    planner.note_leftovers(tasks.values())
    if planner.faults:
        raise ConfigFaults(tuple(planner.faults))
    if planner.misfits:
        raise MergingError("\n".join(planner.misfits.values()))
    by_token = planned.vocabulary & planned.untied.keys()
    return Assembly(config.method, tasks, by_token, str(result_config["dtype"]), result_config)


def _plan_layers(config: MergeConfig, stored_models: Mapping[ModelId, StoredModel]) -> Iterator[_Layer]:
    """The result's layers in order; ConfigFaults for layers that a model lacks."""
    faults, found = [], []
    for one in config.slices:
        ranges = []
        for entry in one.inputs:
            depth = read_depth(stored_models[entry.model].config, str(entry.model))
            ranges.append(range(*(entry.layers or (0, depth))))
            if ranges[-1].stop > depth:
                why = f"{entry.model} has {depth} layers; the end is not included, so {depth} is the most"
                faults.append(ConfigFault((*entry.place, "layer_range"), str(list(entry.layers or ())), why))
        lengths = {len(taken) for taken in ranges}
        if len(lengths) > 1:
            counts = ", ".join(f"{entry.model} {len(taken)}" for entry, taken in zip(one.inputs, ranges, strict=True))
            faults.append(ConfigFault(one.place, f"models of unequal depth ({counts})", "choose layers with `slices`"))
        last = max(len(ranges[0]) - 1, 1)
        for offset, taken in enumerate(zip(*ranges, strict=False)):
            found.append(_Layer(one, taken, offset / last if len(ranges[0]) > 1 else 1.0))
    if not (found or faults):
        faults.append(ConfigFault(("slices",), "no layers", "give at least one slice with a layer"))
    if faults:
        raise ConfigFaults(faults)
    yield from found


def _result_config(
    config: MergeConfig,
    stored_models: Mapping[ModelId, StoredModel],
    layers: Sequence[_Layer],
    vocabulary: Vocabulary | None,
) -> dict[str, object]:
    config_source = stored_models[config.config_source].config
    origins = [
        [(stored_models[entry.model].config, taken) for entry, taken in _leading_first(layer)] for layer in layers
    ]
    result_config = stack_config(config_source, origins, str(config.config_source))
    dtype = config.dtype or _widest(stored_models)
    # Both names are in use: "torch_dtype" is what older versions write and read.
    result_config |= dict.fromkeys(("torch_dtype", "dtype") if "torch_dtype" in result_config else ("dtype",), dtype)
    result_config.pop("_name_or_path", None)  # a folder on the author's machine
    return result_config if vocabulary is None else vocabulary.apply_to(result_config)


def _leading_first(layer: _Layer) -> list[tuple[Input, int]]:
    """The inputs of a layer, the base first if there is one."""
    return sorted(layer.pairs, key=lambda pair: pair[0].model != layer.slice.base)


def _widest(stored_models: Mapping[ModelId, StoredModel]) -> str:
    """The dtype that holds the weights of all models; float64 becomes float32."""
    found = {header.dtype for stored_model in stored_models.values() for header in stored_model.stored.values()}
    names = [NAMES[code] for code in found]
    return names[0] if len(names) == 1 and names[0] in DTYPES else "float32"


class _Planner:
    """Plans tensor by tensor, and collects faults on the way."""

    def __init__(
        self,
        config: MergeConfig,
        stored_models: Mapping[ModelId, StoredModel],
        planned: ModelSchema,
        layers: Sequence[_Layer],
        *,
        any_rows: bool,
    ) -> None:
        self.config = config
        self.stored_models = stored_models
        self.schema = planned
        self.layers = layers
        self.any_rows = any_rows
        self.faults: dict[ConfigFault, None] = {}
        self.misfits: dict[ModelId, str] = {}

    def task(self, name: str) -> TensorTask:
        layer = self.layer_of(name)
        names = {entry.model: renumber(name, taken) for entry, taken in layer.pairs}
        stored = {model: self.stored(model, own, name) for model, own in names.items()}
        sources, base = assign_roles(self.config.method, tuple(names), layer.slice.base)
        return TensorTask(
            shape=self.schema.shapes[name],
            sources=tuple((model, stored[model]) for model in sources),
            base=None if base is None else (base, stored[base]),
            values=self.values(name, names, sources, layer),
        )

    def layer_of(self, name: str) -> _Layer:
        """The output layer whose settings apply to a tensor: its own layer; else that of the first or last slice.

        The embeddings belong to the first slice, the final norm and the head to the last.
        """
        place = parse_name(name)
        if place.layer is not None:
            return self.layers[place.layer]
        end = self.config.slices[0 if place.is_embedding else -1]
        return _Layer(end, (0,) * len(end.inputs), 0.0 if place.is_embedding else 1.0)

    def stored(self, model: ModelId, own: str, name: str) -> str:
        """The stored name of a model's tensor; one that is missing or does not fit is noted."""
        header = self.stored_models[model].stored.get(own)
        wanted = self.schema.shapes[name]
        if header is None:
            if model not in self.misfits:
                self.misfits[model] = f"{model}: {self.lacking(model, own, name)}"
            return own
        by_token = name in self.schema.vocabulary
        if by_token and not self.any_rows and header.shape[0] != wanted[0]:
            rows = f"{model}: its {own} has {header.shape[0]} rows, that of {self.config.config_source} {wanted[0]}"
            self.misfits.setdefault(model, f"{rows}: add `tokenizer_source: union` to merge vocabularies")
        elif header.shape[by_token:] != wanted[by_token:]:
            sizes = f"{list(header.shape)}, not {list(wanted)} as in {self.config.config_source}"
            self.misfits.setdefault(model, f"{model}: its {own} is {sizes}: these models do not fit together")
        return header.name

    def lacking(self, model: ModelId, own: str, name: str) -> str:
        """The reason why a model lacks a tensor that other layers may have, as in models with dense and MoE layers."""
        stored, place = self.stored_models[model].stored, parse_name(own).layer
        others = (parse_name(other).layer for other in stored)
        if place is None or not any(renumber(own, layer) in stored for layer in others if layer is not None):
            return f"it has no tensor {own}"
        return (
            f"its layer {place} is taken for layer {parse_name(name).layer}, but has no {own}: layers of this "
            "model differ by position (dense or MoE); choose a layer of the same kind"
        )

    def note_leftovers(self, tasks: Iterable[TensorTask]) -> None:
        """Note each tensor of the used layers and ends for which the result has no place."""
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
        self, name: str, names: Mapping[ModelId, str], sources: Sequence[ModelId], layer: _Layer
    ) -> dict[str, tuple[float, ...]]:
        """Every parameter's values. Filters of a model's own parameters apply to the tensor names in that model."""
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
                value = first_setting_value((scope.get(parameter) for scope in settings), tensor, layer.position)
                value = rule.default if value is None else value
                if value is None:
                    why = f"{self.config.method} needs it for {tensor}"
                    self.note_once(ConfigFault((*place, "parameters", parameter), "nothing", why))
                row.append(float(value or 0))
            found[parameter] = tuple(row)
        self.check(found, name, layer.slice)
        return found

    def check(self, values: Mapping[str, tuple[float, ...]], name: str, one: Slice) -> None:
        if self.faults:
            return  # missing values are zeros here, so that a check would report them again
        try:
            METHODS[self.config.method].check_values(values, name)
        except MergingError as error:
            where, _, why = str(error).partition(": got ")
            got, _, remedy = why.rpartition(": ")
            self.note_once(ConfigFault((*one.place, *where.split(".")), got, remedy))

    def note_once(self, fault: ConfigFault) -> None:
        """Add a fault unless its key has one already."""
        if all(fault.path != other.path for other in self.faults):
            self.faults[fault] = None
