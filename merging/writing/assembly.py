"""The plan of a merge by mergekit's YAML: every tensor of the result with its inputs, and the result's config.json.

A layer of the result is made from one layer of each model of its slice. The tensors come from the schemas of the result
and the models as transformers builds them; no model family is known by name here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from merging.dtypes import CODES, DTYPES, NAMES, torch_dtype
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kernels.inputs import Draw, Inputs
from merging.kinds.kind import Components
from merging.merge_tensor import SourceLoader, merge_and_add
from merging.mergekit.config import ConfigFault, ConfigFaults, Input, MergeConfig
from merging.models.building import build_schema
from merging.models.carrier import carry_stored
from merging.models.layer_config import read_depth, stack_config
from merging.models.stored_model import HeaderOnlyWeights, StoredModel
from merging.models.traits import Traits
from merging.sources.checkpoint import is_finite
from merging.sources.family import TensorHeader
from merging.sources.weights import AdaptedTensor, Weights
from merging.tokenizers.vocabulary import Vocabulary
from merging.writing.shards import Merge
from merging.writing.tensor_planner import ResultLayer, TensorPlanner, TensorTask, module_faults

_UNTIED = (
    "tie_word_embeddings: some of the models tie their head to their embeddings, others do not: the result has a head "
    "of its own, for which a tied model gives its embeddings"
)


@dataclass(frozen=True)
class Assembly:
    """The plan of a merge.

    tasks: tensor name in the result → task. vocabulary: names of the tensors with a row per token.
    config: the result's config.json. traits: what its layers compute by their numbers. tied: name of each tied weight →
    the tensor that it is tied to. components: those of a model that is more than a language model. lead: the model
    whose config and tokenizer the result has.
    remarks: settings of the recipe that no tensor is merged with, a line each.
    """

    method: str
    tasks: Mapping[str, TensorTask]
    vocabulary: frozenset[str]
    dtype: str
    config: Mapping[str, object]
    traits: Traits
    tied: Mapping[str, str]
    components: Components
    lead: ModelId
    remarks: tuple[str, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name → shape, in the order of writing."""
        return {name: task.shape for name, task in self.tasks.items()}

    @property
    def parameters(self) -> int:
        """Number of weights of the result."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def stored_model(self) -> StoredModel:
        """The result as a model for another merge; its tensors are stored under their own names."""
        headers = {name: TensorHeader(name, shape, CODES[self.dtype]) for name, shape in self.shapes.items()}
        return StoredModel(self.config, headers, self.vocabulary, self.traits, self.tied, self.components)

    def maker(self, weights: Mapping[ModelId, Weights], names: Mapping[ModelId, ModelId], seed: int) -> Merge:
        """The function that makes a tensor of the result: summed in float32, rounded once to `dtype`.

        names: model → its identity, which keys its random draws besides seed and tensor name. The function raises
        MergingError for a tensor whose values are not finite, in a model (some methods would drop them silently) or in
        the result.
        """

        def check(tensor: Tensor, model: ModelId, name: str) -> Tensor:
            if not is_finite(tensor):
                raise MergingError(f"{names[model]}: its tensor {name} holds NaN or infinity: name another model")
            return tensor

        def load(model: ModelId, name: str) -> Tensor:
            return check(weights[model].tensor(name), model, name)

        def load_adapted(model: ModelId, name: str) -> AdaptedTensor | None:
            change = weights[model].adapted(name)
            for tensor in (change.start, change.difference) if change else ():
                if tensor is not None:
                    check(tensor, model, name)
            return change

        def make(name: str, memory: Tensor) -> Tensor:
            task = self.tasks[name]
            base = task.base
            # Methods load a tensor several times; adapters and vocabularies would compute it each time.
            once, adapted_once = cache(load), cache(load_adapted)
            inputs = Inputs(
                values=task.values,
                load=lambda source: once(*task.sources[source]),
                load_base=None if base is None else lambda: once(*base),
                draw=Draw(seed, name, tuple(str(names[model]) for model, _ in task.sources)),
                dtype=torch_dtype(self.dtype),
                base="" if base is None else str(names[base[0]]),
                starts=tuple(str(names[model].plain) for model, _ in task.sources),
                load_adapted=lambda source: adapted_once(*task.sources[source]),
                into=memory,
            )
            return merge_and_add(task.method, inputs, name, task.last_stage, SourceLoader(weights))

        return make


class AssembledWeights(HeaderOnlyWeights):
    """A merge as the input of another one.

    A tensor is made at each call: the merge is never whole in memory or on the disk. make: makes one in memory of
    its size.
    """

    def __init__(self, label: str, assembly: Assembly, make: Merge) -> None:
        """label: name of the merge in errors. make: the result of `assembly.maker`."""
        super().__init__(label, assembly.stored_model.stored, assembly.config)
        self._dtype = torch_dtype(assembly.dtype)
        self.make = make

    def tensor(self, name: str) -> Tensor:
        """Make a tensor."""
        header = self.header(name)
        return self.make(header.name, torch.empty(header.shape, dtype=self._dtype))

    def verify(self) -> None:
        """Make every tensor once; MergingError names one that is not finite."""
        for name in self.names:
            self.tensor(name)


def assemble(
    config: MergeConfig, stored_models: Mapping[ModelId, StoredModel], vocabulary: Vocabulary | None = None
) -> Assembly:
    """Plan every tensor of the result.

    vocabulary: the result's vocabulary where the recipe chooses one; None where all models must have the same.

    Raises:
        ConfigFaults: layers that a model does not have, modules without effect, and parameters without a value, by key.
        MergingError: tensors missing or of another shape, a line for each model.
    """
    lead = find_lead(config, stored_models)
    if stored_models[lead].components:
        stored_models = _carried(lead, stored_models)
    layers = tuple(_plan_layers(config, stored_models))
    result_config = _result_config(config, lead, stored_models, layers, vocabulary)
    unties = vocabulary is None and _ties_differ(config, stored_models)
    if unties:
        stored_models = {name: model.untied() for name, model in stored_models.items()}
        result_config["tie_word_embeddings"] = False
    planned = build_schema(result_config, "the merged config.json")
    if faults := tuple(module_faults(config, stored_models, planned.components)):
        raise ConfigFaults(faults)
    planner = TensorPlanner(config, stored_models, planned, layers, lead=lead, any_rows=vocabulary is not None)
    tasks = {name: planner.task(name) for name in planned.untied}
    planner.note_leftovers(tasks.values())
    planner.note_moved_layers()
    if planner.faults:
        raise ConfigFaults(tuple(planner.faults))
    if planner.misfits:
        raise MergingError("\n".join(planner.misfits.values()))
    by_token = planned.vocabulary & planned.untied.keys()
    return Assembly(
        config.method,
        tasks,
        by_token,
        str(result_config["dtype"]),
        result_config,
        planned.traits,
        planned.tied,
        planned.components,
        lead,
        (*([_UNTIED] if unties else []), *planner.settings.unread()),
    )


def find_lead(config: MergeConfig, stored_models: Mapping[ModelId, StoredModel]) -> ModelId:
    """The model whose config and tokenizer the result has.

    It is the carrier that the file names; else the config source, unless that is a language model and another has it as
    one of several components. MergingError for a carrier that has no components.
    """
    first, *others = config.models
    if config.carrier is not None and not stored_models[config.carrier].components:
        raise MergingError(f"carrier: got {config.carrier}: it has no other components; name a model that has some")
    candidates = (config.carrier,) if config.carrier else (first, *others)
    return next((model for model in candidates if stored_models[model].components), first)


def _carried(lead: ModelId, stored_models: Mapping[ModelId, StoredModel]) -> dict[ModelId, StoredModel]:
    """All models by the names of the lead's tensors; MergingError, a line for each language model that does not fit."""
    found, misfits = {}, []
    for name, model in stored_models.items():
        try:
            found[name] = model if model.components else carry_stored(stored_models[lead], model, str(name))
        except MergingError as error:
            misfits.append(str(error))
    if misfits:
        raise MergingError("\n".join(misfits))
    return found


def _ties_differ(config: MergeConfig, stored_models: Mapping[ModelId, StoredModel]) -> bool:
    """Whether some models of the first and last slice tie their head to their embeddings, and others do not.

    A tied model has a head too, its embeddings: the result unties them.
    """
    ends = (entry.model for end in (config.slices[0], config.slices[-1]) for entry in end.inputs)
    return len({stored_models[model].ties_ends for model in ends}) > 1


def _plan_layers(config: MergeConfig, stored_models: Mapping[ModelId, StoredModel]) -> Iterator[ResultLayer]:
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
            found.append(ResultLayer(one, taken, offset / last if len(ranges[0]) > 1 else 1.0))
    if not (found or faults):
        faults.append(ConfigFault(("slices",), "no layers", "give at least one slice with a layer"))
    if faults:
        raise ConfigFaults(faults)
    yield from found


def _result_config(
    config: MergeConfig,
    lead: ModelId,
    stored_models: Mapping[ModelId, StoredModel],
    layers: Sequence[ResultLayer],
    vocabulary: Vocabulary | None,
) -> dict[str, object]:
    config_source = stored_models[lead].config
    origins = [
        [(stored_models[entry.model].config, taken) for entry, taken in _leading_first(layer)] for layer in layers
    ]
    result_config = stack_config(config_source, origins, str(lead))
    dtype = config.dtype or _widest(stored_models)
    # Both names are in use: "torch_dtype" is what older versions write and read.
    result_config |= dict.fromkeys(("torch_dtype", "dtype") if "torch_dtype" in result_config else ("dtype",), dtype)
    result_config.pop("_name_or_path", None)  # a folder on the author's machine
    return result_config if vocabulary is None else vocabulary.apply_to(result_config)


def _leading_first(layer: ResultLayer) -> list[tuple[Input, int]]:
    """The inputs of a layer, the base first if there is one."""
    return sorted(layer.pairs, key=lambda pair: pair[0].model != layer.slice.base)


def _widest(stored_models: Mapping[ModelId, StoredModel]) -> str:
    """The dtype that holds the weights of all models; float64 becomes float32."""
    found = {header.dtype for stored_model in stored_models.values() for header in stored_model.stored.values()}
    names = [NAMES[code] for code in found]
    return names[0] if len(names) == 1 and names[0] in DTYPES else "float32"
