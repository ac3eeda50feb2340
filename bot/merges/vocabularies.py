"""The vocabulary of a merge that chooses one: planned from the models' small files, before any weights are fetched."""

from __future__ import annotations

from collections.abc import Mapping

from bot.hub import Hub
from bot.merges.planned import Model, by_token
from bot.merges.stages import Stage
from bot.sources.vocabulary import tokenizer_mismatch
from merging.blueprint import HeadersAlone
from merging.errors import MergingError
from merging.mergekit_config import ModelName
from merging.source_tokenizer import SourceTokenizer, read_source_tokenizer
from merging.vocabulary import Vocabulary, plan_vocabulary
from merging.vocabulary_view import vocabulary_views


def vocabulary_of(stage: Stage, models: Mapping[ModelName, Model], hub: Hub) -> Vocabulary | None:
    """The result's vocabulary, if it is to be built anew; None: all models must have the same.

    Raises:
        ShoalError: the vocabularies do not go together.
    """
    choice = stage.config.tokenizer
    if choice is None:
        _check_alike(stage, models)
        return None
    tokenizers = _tokenizers(stage, models, hub)
    try:
        found = plan_vocabulary(
            tokenizers,
            choice.source,
            base=stage.config.base,
            pad_to_multiple_of=choice.pad_to_multiple_of,
            overrides=choice.tokens,
        )
        headers = {name: HeadersAlone(str(name), model.headers) for name, model in models.items()}
        vocabulary_views(found, headers, by_token(models))  # looks whether every model has what it takes
    except MergingError as error:
        raise stage.said(error) from error
    return found


def _tokenizers(stage: Stage, models: Mapping[ModelName, Model], hub: Hub) -> dict[ModelName, SourceTokenizer]:
    found, reasons = {}, {}
    for name, model in models.items():
        try:
            found[name] = read_source_tokenizer(str(name), model.small_files(hub), model.blueprint.rows)
        except MergingError as error:
            reasons[name] = str(error).removeprefix(f"{name}: ")
    if reasons:
        raise stage.told(stage.of_models(reasons))
    return found


def _check_alike(stage: Stage, models: Mapping[ModelName, Model]) -> None:
    """The same token ids must mean the same tokens in all models that give embeddings or a head."""
    config = stage.config
    donor = models[config.donor].tokenizer
    reasons = {}
    for name in dict.fromkeys(entry.model for end in (config.slices[0], config.slices[-1]) for entry in end.inputs):
        other = models[name].tokenizer
        if donor and other and (difference := tokenizer_mismatch(donor, other)):
            why = f"its tokenizer is not that of {config.donor} ({difference})"
            reasons[name] = f"{why}; add `tokenizer_source: union` to merge vocabularies"
    if reasons:
        raise stage.told(stage.of_models(reasons))
