"""How the merges of a recipe file are planned, by the kind of their models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bot.hub.client import Hub
from bot.merge_command.kinds.pipeline import plan_pipeline_stage
from bot.merge_command.kinds.text import TextStage
from bot.merge_command.kinds.text_remarks import text_remarks
from bot.merge_command.kinds.text_vocabularies import plan_stage_vocabulary
from bot.merge_command.planned import InputModel, PlannedStage
from bot.merge_command.stages import Stage
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.mergekit.config import ConfigFault
from merging.writing.assembly import assemble


@dataclass(frozen=True)
class StageKind:
    """plan: plans a merge; ShoalError for what prevents it, a line each. remarks: what a person should know besides."""

    plan: Callable[[Stage, Mapping[ModelId, InputModel], Hub], PlannedStage]
    remarks: Callable[[PlannedStage, Hub], Iterator[str]]


def plan_text_stage(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> PlannedStage:
    """Plan a merge of models of text, or of text and pictures."""
    if (added := stage.config.last_stage) is not None:
        why = "only pipelines of diffusers have one; merge what base+lora is as a model"
        raise stage.fault_error([ConfigFault(("last_stage",), str(added.adapted), why)])
    vocabulary = plan_stage_vocabulary(stage, models, hub)
    stored_models = {name: model.stored_model for name, model in models.items()}
    with stage.errors():
        return TextStage(stage, models, assemble(stage.config, stored_models, vocabulary), vocabulary)


_TEXT = StageKind(plan_text_stage, text_remarks)

STAGE_KINDS: Mapping[str, StageKind] = MappingProxyType(
    {"language": _TEXT, "vision-language": _TEXT, "image": StageKind(plan_pipeline_stage, lambda _, __: iter(()))}
)
"""By the kind of the merged models."""


def find_stage_kind(stage: Stage, models: Mapping[ModelId, InputModel]) -> StageKind:
    """The one kind of a merge's models; ShoalError for models of another."""
    found = {name: STAGE_KINDS[kind_of(model.stored_model.config).name] for name, model in models.items()}
    first, *_ = found
    others = [name for name, kind in found.items() if kind is not found[first]]
    if others:
        names = {name: kind_of(models[name].stored_model.config).name for name in (first, *others)}
        reasons = {name: f"its kind is {names[name]}, that of {first} {names[first]}" for name in others}
        raise stage.fault_error(stage.model_faults(reasons))
    return found[first]
