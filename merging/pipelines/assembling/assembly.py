"""The plan of a merge of pipelines by a recipe file: every tensor of the result, and whose everything else is.

The denoiser is merged from the recipe's models. So are the text encoders, unless the recipe has modules, of which each
says whose the component is. The VAE, the scheduler and whatever else a pipeline has are the carrier's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merging.dtypes import DTYPES, NAMES
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds.kind import Components
from merging.mergekit.config import ConfigFault, ConfigFaults, MergeConfig, Scope, Slice
from merging.mergekit.module_names import PIPELINE_MODULES
from merging.mergekit.parameters import assign_roles, slice_fault
from merging.models.components import read_components
from merging.models.stored_model import StoredModel
from merging.pipelines.blocks import stage_positions
from merging.pipelines.index import COMPONENTS_KEY, DENOISER, component_name, listed_components
from merging.pipelines.naming import has_weights, tensor_shapes
from merging.pipelines.parts import TEXT_ENCODER, buffer_names, reader_of, tensor_mismatch
from merging.pipelines.settings import part_mismatch, pipeline_mismatch
from merging.recipes.weight_merge import UNCHANGED, TensorMerge, merge_by_holders
from merging.tensor_names import parse_name
from merging.writing.assembly import Assembly
from merging.writing.tensor_planner import TensorTask
from merging.writing.tensor_values import TensorValues

Models = Mapping[ModelId, StoredModel]
Pipelines = Mapping[ModelId, frozenset[str]]
"""Those of the models that are whole pipelines → folders of the components whose weights are not as in their files."""


@dataclass(frozen=True)
class PipelineAssembly(Assembly):
    """The plan of a merge of pipelines; its tasks make the tensors of all components.

    owners: folder of each component → the pipeline whose settings and other files it has. copied: folders of those
    whose weights are copied as well, and not made.
    """

    owners: Mapping[str, ModelId]
    copied: frozenset[str]

    @property
    def made(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Folder of each component that is made → shape of each of its tensors."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, shape in self.shapes.items():
            if (folder := name.partition(".")[0]) not in self.copied:
                found.setdefault(folder, {})[name] = shape
        return found


def carrier_of(config: MergeConfig, pipelines: Pipelines) -> ModelId:
    """The one that the recipe names, else the base or the first model that is a whole pipeline.

    MergingError if there is none.
    """
    found = config.carrier or next((model for model in config.givers if model in pipelines), None)
    if found is None or found not in pipelines:
        name = "" if found is None else f"{found}: "
        raise MergingError(
            f"{name}a whole pipeline of diffusers is needed, whose files the result has: name one as carrier"
        )
    return found


def find_mismatches(config: MergeConfig, models: Models, carrier: ModelId) -> dict[ModelId, str]:
    """Models whose configs say that they cannot be merged with the carrier, or give it a component → why."""
    found: dict[ModelId, str] = {}
    own = models[carrier].config
    for folder in listed_components(own):
        one = slice_of(config, folder)
        for entry in one.inputs if one else ():
            model = models[entry.model]
            if component_name(folder) == DENOISER:
                reason = pipeline_mismatch(own, model.config)
            elif config.modules is None and folder not in held_components(model):
                continue  # it takes no part in the merge of this component
            else:
                reason = part_mismatch(own, model.config, folder, merged=len(one.inputs) > 1 if one else False)
            if reason is not None:
                found.setdefault(entry.model, reason)
    return found


def slice_of(config: MergeConfig, folder: str) -> Slice | None:
    """The models of a component; None where it is the carrier's."""
    name = component_name(folder)
    if name == DENOISER:
        return config.slices[0]
    if config.modules is None:
        return config.slices[0] if folder.startswith(TEXT_ENCODER) else None
    return config.modules.get(name)


def held_components(model: StoredModel) -> frozenset[str]:
    """The folders of the components of which a model has weights."""
    return frozenset(name.partition(".")[0] for name in model.stored)


def assemble_pipeline(config: MergeConfig, models: Models, carrier: ModelId, pipelines: Pipelines) -> PipelineAssembly:
    """Plan every tensor of the result.

    models: each fits the carrier, as far as `find_mismatches` shows.

    Raises:
        ConfigFaults: what pipelines do not have, modules without effect, and parameters without a value, by key.
        MergingError: tensors missing or of another shape, a line for each model.
    """
    own = models[carrier].config
    if faults := tuple(_faults(config, models, carrier, pipelines)):
        raise ConfigFaults(faults)
    planner = _Planner(config, models, carrier, pipelines)
    for folder in listed_components(own):
        if has_weights(own, folder):
            planner.plan(folder)
    if planner.settings.faults:
        raise ConfigFaults(tuple(planner.settings.faults))
    if planner.misfits:
        raise MergingError("\n".join(planner.misfits.values()))
    owners = {folder: planner.file_owner(folder) for folder in listed_components(own)}
    return PipelineAssembly(
        method=config.method,
        tasks=planner.tasks,
        vocabulary=frozenset(),
        dtype=config.dtype or planner.widest_dtype(),
        config=_result_config(own, {folder: models[owner].config for folder, owner in owners.items()}),
        traits={},
        tied={},
        components=planner.components,
        lead=carrier,
        remarks=(*planner.remarks, *planner.settings.unread()),
        owners=owners,
        copied=frozenset(planner.copied | {folder for folder in owners if not has_weights(own, folder)}),
    )


class _Planner:
    """Plans component by component, and collects faults on the way."""

    def __init__(self, config: MergeConfig, models: Models, carrier: ModelId, pipelines: Pipelines) -> None:
        self.config, self.models, self.carrier, self.pipelines = config, models, carrier, pipelines
        self.own = models[carrier].config
        self.label = f"the config of {carrier}"
        self.components: Components = read_components(self.own, self.label)
        self.settings = TensorValues(config)
        self.tasks: dict[str, TensorTask] = {}
        self.misfits: dict[ModelId, str] = {}
        self.remarks: list[str] = []
        self.copied: set[str] = set()
        self.single: dict[str, ModelId] = {}
        self.staged = config.last_stage.adapted if config.last_stage else None
        self.changed = frozenset() if self.staged is None else pipelines[self.staged]

    def plan(self, folder: str) -> None:
        """Plan the tensors of a component."""
        one = slice_of(self.config, folder) or Slice((), None, {})
        names = tuple(entry.model for entry in one.inputs)
        lacking = tuple(model for model in names if folder not in held_components(self.models[model]))
        holders = [model for model in names if model not in lacking]
        if component_name(folder) != DENOISER and len(holders) < 2 and not (self.config.modules and one.has_values):
            self._take_whole(folder, *(holders or [self.carrier]))
            return
        shapes = self._fitting_shapes(folder, self.own, holders)
        positions = self._positions(folder, shapes, one)
        merges = {name: self._merge(name, one, lacking, positions[name]) for name in shapes}
        only = {merge.sources for merge in merges.values() if merge.values is UNCHANGED}
        if lacking and len(only) == 1 and all(merge.values is UNCHANGED for merge in merges.values()):
            self._take_whole(folder, *next(iter(only)))
            return
        what = f"it has no {component_name(folder)}, and takes no part in the merge of it"
        self.remarks += [f"{model}: {what}" for model in lacking]
        self.tasks |= {name: self._task(merge, name, shapes[name]) for name, merge in merges.items()}

    def file_owner(self, folder: str) -> ModelId:
        """The pipeline whose settings and other files a component has: tokenizers are their text encoders'."""
        module = (self.config.modules or {}).get(component_name(folder))
        named = module.inputs[0].model if module and not has_weights(self.own, folder) else None
        found = named or self.single.get(reader_of(folder), self.carrier)
        return found if found in self.pipelines else self.carrier

    def widest_dtype(self) -> str:
        """The dtype that holds all that is merged; float64 becomes float32."""
        made = {name: task for name, task in self.tasks.items() if name.partition(".")[0] not in self.copied}
        read = [part for task in made.values() for part in (*task.sources, *([task.base] if task.base else []))]
        names = {NAMES[self.models[model].stored[name].dtype] for model, name in read}
        return names.pop() if len(names) == 1 and names <= set(DTYPES) else "float32"

    def _take_whole(self, folder: str, owner: ModelId) -> None:
        """A component of one model: its files are copied, unless its weights are not as they are there."""
        self.single[folder] = owner
        merge = TensorMerge("linear", (owner,), None, UNCHANGED)
        if folder not in (*self.pipelines.get(owner, (folder,)), *self.changed):
            self.copied.add(folder)
            stored = self.models[owner].stored.items()
            shapes = {name: header.shape for name, header in stored if name.startswith(f"{folder}.")}
        else:
            shapes = self._fitting_shapes(folder, self.models[owner].config, [owner])
        self.tasks |= {name: self._task(merge, name, shape) for name, shape in shapes.items()}

    def _fitting_shapes(
        self, folder: str, config: Mapping[str, Any], models: Sequence[ModelId]
    ) -> dict[str, tuple[int, ...]]:
        """The tensors of a component as a config says them; models that have others are noted."""
        shapes = dict(sorted(tensor_shapes(config, folder, self.label).items()))
        buffers = buffer_names(config, folder, self.label)
        staged = [self.staged] if self.staged is not None and folder in self.changed else []
        for model in (*models, *staged):
            if reason := tensor_mismatch(self.models[model].stored, folder, shapes, buffers, f"{self.carrier}'s"):
                self.misfits.setdefault(model, f"{model}: {reason}")
        return shapes

    def _merge(self, name: str, one: Slice, lacking: Sequence[ModelId], position: float) -> TensorMerge:
        names = {entry.model: name for entry in one.inputs}
        sources, base = assign_roles(self.config.method, tuple(names), one.base)
        values = self.settings.checked(name, names, sources, one, position)
        merge = TensorMerge(self.config.method, sources, base, values)
        return merge_by_holders(merge, lacking, self.carrier, name) if lacking else merge

    def _task(self, merge: TensorMerge, name: str, shape: tuple[int, ...]) -> TensorTask:
        base = None if merge.base is None else (merge.base, name)
        sources = tuple((model, name) for model in merge.sources)
        stage = self.config.last_stage if name.partition(".")[0] in self.changed else None
        return TensorTask(merge.method, shape, sources, base, merge.values, stage)

    def _positions(self, folder: str, names: Iterable[str], one: Slice) -> Mapping[str, float]:
        """The place of each tensor in the row of its component's stages or layers, from 0 to 1."""
        if component_name(folder) == DENOISER:
            return stage_positions(self.components[DENOISER], tuple(names))
        if folder.startswith(TEXT_ENCODER):
            return _layer_positions(names)
        own = [Scope((*entry.place, "parameters"), entry.settings) for entry in one.inputs]
        for scope in (*own, *self.config.scopes(one)):
            for parameter, setting in scope.settings.items():
                if any(len(condition.values) > 1 for condition in setting):
                    why = f"the {component_name(folder)} has no row of layers: write one value for it"
                    self.settings.note_once(ConfigFault((*scope.place, parameter), "a gradient", why))
        return dict.fromkeys(names, 0.0)


def _layer_positions(names: Iterable[str]) -> dict[str, float]:
    """By the numbers of a text encoder's layers; embeddings are before them, all else is after them."""
    places = {name: parse_name(name) for name in names}
    last = max((place.layer or 0 for place in places.values()), default=0) or 1
    return {
        name: float(not place.is_embedding) if place.layer is None else place.layer / last
        for name, place in places.items()
    }


def _faults(config: MergeConfig, models: Models, carrier: ModelId, pipelines: Pipelines) -> Iterator[ConfigFault]:
    """Keys that have no meaning for pipelines, and modules that would have no effect."""
    own = models[carrier].config
    first = config.slices[0]
    if any(entry.layers for one in config.slices for entry in one.inputs):
        why = "the layers of pipelines are not moved: write `models`, with filters for blocks"
        yield ConfigFault(("slices",), "slices", why)
    if first.place[:1] == ("modules",) and first.place[1] != DENOISER:
        yield ConfigFault(first.place[:2], "a module", f"the result has none; write {DENOISER}")
    if config.chat_template is not None:
        yield ConfigFault(("chat_template",), repr(config.chat_template)[:60], "a pipeline has none; leave it out")
    if config.last_stage is not None and config.last_stage.adapted not in pipelines:
        why = "its LoRA needs a whole pipeline; write one before it, such as the carrier"
        yield ConfigFault(("last_stage", "model"), str(config.last_stage.adapted), why)
    listed = {component_name(folder): folder for folder in listed_components(own)}
    for name, module in (config.modules or {}).items():
        names = [entry.model for entry in module.inputs]
        folder = listed.get(name, "")
        if len(names) == 1 and module.has_values and (problem := slice_fault(config.method, names, module.base)):
            yield ConfigFault(module.place, *problem)
        if not folder:
            known = ", ".join(one for one in listed if one in (DENOISER, *PIPELINE_MODULES.others))
            yield ConfigFault(module.place, "a module", f"the result has no {name}, only {known}; leave it out")
        elif has_weights(own, folder):
            if not any(folder in held_components(models[model]) for model in names):
                why = f"no {name} is there; name another model"
                yield ConfigFault(module.place, ", ".join(map(str, names)), why)
        elif any(model not in pipelines or folder not in listed_components(models[model].config) for model in names):
            why = f"no {name} is there; name a whole pipeline"
            yield ConfigFault(module.place, ", ".join(map(str, names)), why)


def _result_config(carrier: Mapping[str, Any], owners: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The carrier's config, with the classes and settings of components that are of others.

    owners: folder → the config of the pipeline whose component it is.
    """
    classes = {folder: owner[folder] for folder, owner in owners.items()}
    settings = {folder: owner[COMPONENTS_KEY].get(folder) for folder, owner in owners.items()}
    known = {folder: one for folder, one in settings.items() if one is not None}
    return {**carrier, **classes, COMPONENTS_KEY: known}
