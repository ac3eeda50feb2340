"""The plan of each tensor of a merge: its inputs and their values, and what does not fit, collected on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from merging.identity import ModelId
from merging.kinds.kind import LANGUAGE, Components
from merging.mergekit.config import ConfigFault, Input, MergeConfig, Slice
from merging.mergekit.module_names import VISION_LANGUAGE_MODULES
from merging.mergekit.parameters import assign_roles
from merging.methods import METHODS
from merging.models.components import component_of, language_names
from merging.models.layer_config import language_type
from merging.models.schema import ModelSchema
from merging.models.stored_model import StoredModel
from merging.models.traits import moved_layer_fault
from merging.pipelines.index import DENOISER
from merging.recipes.last_stage import LastStage
from merging.recipes.weight_merge import UNCHANGED, TensorMerge, merge_by_holders
from merging.tensor_names import parse_name, renumber
from merging.writing.tensor_values import TensorValues


@dataclass(frozen=True)
class TensorTask:
    """The inputs of one tensor of the result, and the method that merges them.

    sources: (model, stored name of its tensor), in the order that the method needs.
    values: parameter → a value per source, or a single one for all of them.
    last_stage: what is added to the result, where its adapter changes this tensor.
    """

    method: str
    shape: tuple[int, ...]
    sources: tuple[tuple[ModelId, str], ...]
    base: tuple[ModelId, str] | None
    values: Mapping[str, tuple[float, ...]]
    last_stage: LastStage | None = None


@dataclass(frozen=True)
class ResultLayer:
    """A layer of the result: its slice, the layer that each input gives, and its position in the slice, from 0 to 1."""

    slice: Slice
    taken: tuple[int, ...]
    position: float

    @property
    def pairs(self) -> list[tuple[Input, int]]:
        """The inputs, each with its layer."""
        return list(zip(self.slice.inputs, self.taken, strict=True))


def module_faults(
    config: MergeConfig, stored_models: Mapping[ModelId, StoredModel], components: Components
) -> Iterator[ConfigFault]:
    """Modules of a file that would have no effect, and what only pipelines have. components: those of the result."""
    main = config.slices[0].place[:2]
    if main == ("modules", DENOISER):
        yield ConfigFault(main, "a module", f"only pipelines have a {DENOISER}; write models or slices without modules")
    seen: dict[str, str] = {}
    for name, module in (config.modules or {}).items():
        component = VISION_LANGUAGE_MODULES.others.get(name, name)
        models = dict.fromkeys(entry.model for entry in module.inputs)
        first = seen.setdefault(component, name)
        if component not in components:
            why = f"the result has no {component}, only {', '.join(components) or LANGUAGE}; leave it out"
            yield ConfigFault(module.place, "a module", why)
        elif first != name:
            yield ConfigFault(module.place, "a module", f"modules.{first} is the {component} too; write one of the two")
        elif not any(stored_models[model].components for model in models):
            yield ConfigFault(module.place, ", ".join(map(str, models)), f"no {component} is there; name another model")


class TensorPlanner:
    """Plans tensor by tensor, and collects faults on the way."""

    def __init__(
        self,
        config: MergeConfig,
        stored_models: Mapping[ModelId, StoredModel],
        planned: ModelSchema,
        layers: Sequence[ResultLayer],
        *,
        lead: ModelId,
        any_rows: bool,
    ) -> None:
        """lead: the model whose config the result has."""
        self.config = config
        self.lead = lead
        self.stored_models = stored_models
        self.schema = planned
        self.layers = layers
        self.any_rows = any_rows
        self.settings = TensorValues(config)
        self.faults = self.settings.faults
        self.misfits: dict[ModelId, str] = {}

    def task(self, name: str) -> TensorTask:
        layer = self.layer_of(name)
        inside = self.is_language(name)
        names = {entry.model: renumber(name, taken) if inside else name for entry, taken in layer.pairs}
        merge = self.merge(name, names, layer)
        return TensorTask(
            method=merge.method,
            shape=self.schema.shapes[name],
            sources=tuple((model, self.stored(model, names.get(model, name), name)) for model in merge.sources),
            base=None if merge.base is None else (merge.base, self.stored(merge.base, names[merge.base], name)),
            values=merge.values,
        )

    def merge(self, name: str, names: Mapping[ModelId, str], layer: ResultLayer) -> TensorMerge:
        """The merge of a tensor by the models that have its component; what is wrong with its values is noted."""
        sources, base = assign_roles(self.config.method, tuple(names), layer.slice.base)
        lacking = tuple(model for model in names if self.lacks(model, name))
        is_whole = not self.is_language(name) and self._is_whole(layer.slice)
        if not names or len(lacking) == len(names) or is_whole:
            alone = [model for model in names if model not in lacking] or [self.lead]
            return TensorMerge("linear", (alone[0],), None, UNCHANGED)
        merge = TensorMerge(
            self.config.method, sources, base, self.settings.checked(name, names, sources, layer.slice, layer.position)
        )
        return merge_by_holders(merge, lacking, self.lead, name) if lacking else merge

    def _is_whole(self, module: Slice) -> bool:
        """Whether a component is that of its only model: its method merges several, or it has no values of its own."""
        method, written = METHODS[self.config.method], self.config.modules is not None
        valued = written and any((module.settings, *(one.settings for one in module.inputs)))
        return len(module.inputs) == 1 and not (valued and method.min_sources == 1 and not method.needs_base)

    def lacks(self, model: ModelId, name: str) -> bool:
        """Whether a model lacks the component of a tensor: it is a language model, and the tensor is of another."""
        return not self.is_language(name) and not self.stored_models[model].components

    def is_language(self, name: str) -> bool:
        """Whether a tensor of the result is of its language model."""
        return bool(language_names([name], self.schema.components))

    def layer_of(self, name: str) -> ResultLayer:
        """The output layer whose settings apply to a tensor: its own layer; else that of the first or last slice.

        The embeddings belong to the first slice, the final norm and the head to the last. Other components than the
        language model have a slice of their own where the file has modules, and belong to the first where it has none.
        """
        if not self.is_language(name):
            end = self.module_of(name)
            return ResultLayer(end, (0,) * len(end.inputs), 0.0)
        place = parse_name(name)
        if place.layer is not None:
            return self.layers[place.layer]
        end = self.config.slices[0 if place.is_embedding else -1]
        return ResultLayer(end, (0,) * len(end.inputs), 0.0 if place.is_embedding else 1.0)

    def module_of(self, name: str) -> Slice:
        """The slice of a component besides the language model; one without models where the file has no such module."""
        if self.config.modules is None:
            return self.config.slices[0]
        component = component_of(self.schema.components, name)
        found = [
            one for key, one in self.config.modules.items() if VISION_LANGUAGE_MODULES.others.get(key) == component
        ]
        return found[0] if found else Slice((), None, {})

    def stored(self, model: ModelId, own: str, name: str) -> str:
        """The stored name of a model's tensor; one that is missing or does not fit is noted."""
        header = self.stored_models[model].stored.get(own)
        wanted = self.schema.shapes[name]
        if header is None:
            if model not in self.misfits:
                self.misfits[model] = f"{model}: {self.lacking(model, own, name)}"
            return own
        by_token = name in self.schema.vocabulary
        any_rows = self.any_rows or bool(self.schema.components)  # a carrier's rows are matched by token
        if by_token and not any_rows and header.shape[0] != wanted[0]:
            rows = f"{model}: its {own} has {header.shape[0]} rows, that of {self.lead} {wanted[0]}"
            self.misfits.setdefault(model, f"{rows}: add `tokenizer_source: union` to merge vocabularies")
        elif header.shape[by_token:] != wanted[by_token:]:
            sizes = f"{list(header.shape)}, not {list(wanted)} as in {self.lead}"
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
                if not self.is_language(name):
                    continue  # components are whole, and a recipe may leave some of them out
                asked = model in ends[not place.is_embedding] if place.layer is None else (model, place.layer) in taken
                if asked and (model, header.name) not in used:
                    why = f"it has {name}, for which a model like {self.lead} has no place"
                    self.misfits.setdefault(model, f"{model}: {why}")

    def note_moved_layers(self) -> None:
        """Note layers that would compute something else under their new number, if all tensors are there."""
        if self.misfits:
            return
        for number, layer in enumerate(self.layers):
            for entry, taken in layer.pairs:
                model = self.stored_models[entry.model]
                same = entry.model == self.lead
                kind, traits = language_type(model.config), self.schema.traits
                if reason := moved_layer_fault(kind, model.traits, taken, traits, number, same_settings=same):
                    why = f"layer {taken} of {entry.model} as layer {number}: {reason}; keep layers at their numbers"
                    self.settings.note_once(
                        ConfigFault((*entry.place, "layer_range"), str(list(entry.layers or ())), why)
                    )
