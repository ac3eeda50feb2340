"""Plans the vocabulary of a merge from its models' small files, or checks that all models have the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bot.hub.client import Hub
from bot.merge_command.kinds.text import rows_by_token
from bot.merge_command.planned import InputModel
from bot.merge_command.stages import Stage
from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import ConfigFault
from merging.mergekit.remedies import describe_value
from merging.models.stored_model import HeaderOnlyWeights
from merging.tokenizers.comparison import TokenizerDigests, plain_text_mismatch, tokenizer_mismatch
from merging.tokenizers.source_tokenizer import OLDER_VOCABULARIES, SourceTokenizer, read_source_tokenizer
from merging.tokenizers.view import vocabulary_views
from merging.tokenizers.vocabulary import Vocabulary, plan_vocabulary
from merging.writing.assembly import find_lead


def plan_stage_vocabulary(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> Vocabulary | None:
    """The result's vocabulary where the recipe chooses one; None where all models must have the same.

    Raises:
        ShoalError: the vocabularies cannot be merged, or differ.
    """
    choice, lead = stage.config.tokenizer, _lead(stage, models)
    if choice is None:
        _check_alike(stage, models, lead, hub)
        return None
    if models[lead].stored_model.components:
        key = "tokenizer" if "tokenizer" in stage.document.data else "tokenizer_source"
        why = f"{lead} has rows of its own for pictures, and others are matched with its tokens: leave it out"
        raise stage.fault_error([ConfigFault((key,), describe_value(stage.document.data[key]), why)])
    tokenizers = _read_tokenizers(stage, models, hub)
    try:
        found = plan_vocabulary(
            tokenizers,
            choice.source,
            base=stage.config.base,
            pad_to_multiple_of=choice.pad_to_multiple_of,
            overrides=choice.tokens,
            among=choice.among,
        )
        headers = {name: HeaderOnlyWeights(str(name), model.headers) for name, model in models.items()}
        vocabulary_views(found, headers, rows_by_token(models))  # checks that every model fits
    except MergingError as error:
        raise stage.wrap_error(error) from error
    return found


def _read_tokenizers(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> dict[ModelId, SourceTokenizer]:
    found, reasons = {}, {}
    for name, model in models.items():
        try:
            found[name] = read_source_tokenizer(str(name), model.read_small_files(hub), model.stored_model.rows)
        except MergingError as error:
            reasons[name] = str(error).removeprefix(f"{name}: ")
    if reasons:
        raise stage.fault_error(stage.model_faults(reasons))
    return found


def _lead(stage: Stage, models: Mapping[ModelId, InputModel]) -> ModelId:
    return find_lead(stage.config, {name: model.stored_model for name, model in models.items()})


def _check_alike(stage: Stage, models: Mapping[ModelId, InputModel], lead: ModelId, hub: Hub) -> None:
    """ShoalError unless token ids mean the same tokens in all models that give embeddings or a head.

    The rows of a language model in a model of several components are matched by token, so added ones may differ.
    """
    reasons = {}
    for name in _models_at_ends(stage):
        inside = models[lead].stored_model.components and not models[name].stored_model.components
        if difference := _difference(
            models[lead], models[name], hub, plain_text_mismatch if inside else tokenizer_mismatch
        ):
            remedy = "name another model" if inside else "add `tokenizer_source: union` to merge vocabularies"
            reasons[name] = f"its tokenizer is not that of {lead} ({difference}); {remedy}"
    if reasons:
        raise stage.fault_error(stage.model_faults(reasons))


def _models_at_ends(stage: Stage) -> list[ModelId]:
    """The models whose embeddings or head are merged with the config source's."""
    ends = (stage.config.slices[0], stage.config.slices[-1])
    return list(dict.fromkeys(entry.model for end in ends for entry in end.inputs))


def _difference(
    config_source: InputModel,
    other: InputModel,
    hub: Hub,
    compare: Callable[[TokenizerDigests, TokenizerDigests], str | None],
) -> str | None:
    """The difference of two vocabularies, by tokenizer.json if both have it, else by the older files that both have."""
    if config_source.tokenizer and other.tokenizer:
        return compare(config_source.tokenizer, other.tokenizer)
    pairs = _older_pairs(config_source, other, hub)
    return next((f"another {name}" for name, (one, two) in pairs.items() if one != two), None)


def _older_pairs(config_source: InputModel, other: InputModel, hub: Hub) -> dict[str, tuple[bytes, bytes]]:
    one, two = config_source.read_small_files(hub), other.read_small_files(hub)
    return {name: (one[name], two[name]) for name in OLDER_VOCABULARIES if name in one and name in two}


def uncompared_remarks(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> Iterator[str]:
    """A remark for each model without a file that shows whether its token ids mean those of the config source."""
    lead = _lead(stage, models)
    config_source = models[lead]
    for name in _models_at_ends(stage) if stage.config.tokenizer is None else ():
        other = models[name]
        if other is config_source or (config_source.tokenizer and other.tokenizer):
            continue
        if not _older_pairs(config_source, other, hub):
            yield f"{name}: it has no file whose tokens could be compared with those of {lead}"
