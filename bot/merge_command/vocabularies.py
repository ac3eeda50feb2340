"""Plans the vocabulary of a merge from its models' small files, or checks that all models have the same one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bot.hub.client import Hub
from bot.merge_command.stage_plan import InputModel, rows_by_token
from bot.merge_command.stages import Stage
from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.stored_model import HeaderOnlyWeights
from merging.tokenizers.comparison import tokenizer_mismatch
from merging.tokenizers.source_tokenizer import OLDER_VOCABULARIES, SourceTokenizer, read_source_tokenizer
from merging.tokenizers.view import vocabulary_views
from merging.tokenizers.vocabulary import Vocabulary, plan_vocabulary


def plan_stage_vocabulary(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> Vocabulary | None:
    """The result's vocabulary where the recipe chooses one; None where all models must have the same.

    Raises:
        ShoalError: the vocabularies cannot be merged, or differ.
    """
    choice = stage.config.tokenizer
    if choice is None:
        _check_alike(stage, models, hub)
        return None
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


def _check_alike(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> None:
    """ShoalError unless token ids mean the same tokens in all models that give embeddings or a head."""
    config_source, reasons = stage.config.config_source, {}
    for name in _models_at_ends(stage):
        if difference := _difference(models[config_source], models[name], hub):
            why = f"its tokenizer is not that of {config_source} ({difference})"
            reasons[name] = f"{why}; add `tokenizer_source: union` to merge vocabularies"
    if reasons:
        raise stage.fault_error(stage.model_faults(reasons))


def _models_at_ends(stage: Stage) -> list[ModelId]:
    """The models whose embeddings or head are merged with the config source's."""
    ends = (stage.config.slices[0], stage.config.slices[-1])
    return list(dict.fromkeys(entry.model for end in ends for entry in end.inputs))


def _difference(config_source: InputModel, other: InputModel, hub: Hub) -> str | None:
    """The difference of two vocabularies, by tokenizer.json if both have it, else by the older files that both have."""
    if config_source.tokenizer and other.tokenizer:
        return tokenizer_mismatch(config_source.tokenizer, other.tokenizer)
    pairs = _older_pairs(config_source, other, hub)
    return next((f"another {name}" for name, (one, two) in pairs.items() if one != two), None)


def _older_pairs(config_source: InputModel, other: InputModel, hub: Hub) -> dict[str, tuple[bytes, bytes]]:
    one, two = config_source.read_small_files(hub), other.read_small_files(hub)
    return {name: (one[name], two[name]) for name in OLDER_VOCABULARIES if name in one and name in two}


def uncompared_remarks(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> Iterator[str]:
    """A remark for each model without a file that shows whether its token ids mean those of the config source."""
    config_source = models[stage.config.config_source]
    for name in _models_at_ends(stage) if stage.config.tokenizer is None else ():
        other = models[name]
        if other is config_source or (config_source.tokenizer and other.tokenizer):
            continue
        if not _older_pairs(config_source, other, hub):
            yield f"{name}: it has no file whose tokens could be compared with those of {stage.config.config_source}"
