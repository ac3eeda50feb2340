"""The vocabulary of a merge that chooses one: planned from the models' small files, before any weights are fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bot.hub import Hub
from bot.merges.planned import Model, by_token
from bot.merges.stages import Stage
from bot.sources.vocabulary import tokenizer_mismatch
from merging.errors import MergingError
from merging.mergekit.config import ModelName
from merging.models.blueprint import HeadersAlone
from merging.vocabularies.plan import Vocabulary, plan_vocabulary
from merging.vocabularies.source_tokenizer import SourceTokenizer, read_source_tokenizer
from merging.vocabularies.view import vocabulary_views

_OLDER = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt")
"""Files that hold a vocabulary where there is no tokenizer.json."""


def vocabulary_of(stage: Stage, models: Mapping[ModelName, Model], hub: Hub) -> Vocabulary | None:
    """The result's vocabulary, if it is to be built anew; None: all models must have the same.

    Raises:
        ShoalError: the vocabularies do not go together.
    """
    choice = stage.config.tokenizer
    if choice is None:
        _check_alike(stage, models, hub)
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


def _check_alike(stage: Stage, models: Mapping[ModelName, Model], hub: Hub) -> None:
    """The same token ids must mean the same tokens in all models that give embeddings or a head."""
    donor, reasons = stage.config.donor, {}
    for name in _with_tokens(stage):
        if difference := _difference(models[donor], models[name], hub):
            why = f"its tokenizer is not that of {donor} ({difference})"
            reasons[name] = f"{why}; add `tokenizer_source: union` to merge vocabularies"
    if reasons:
        raise stage.told(stage.of_models(reasons))


def _with_tokens(stage: Stage) -> list[ModelName]:
    """The models whose embeddings or head are merged with the donor's."""
    ends = (stage.config.slices[0], stage.config.slices[-1])
    return list(dict.fromkeys(entry.model for end in ends for entry in end.inputs))


def _difference(donor: Model, other: Model, hub: Hub) -> str | None:
    """In what two vocabularies differ: by tokenizer.json if both have it, else by the older files that both have."""
    if donor.tokenizer and other.tokenizer:
        return tokenizer_mismatch(donor.tokenizer, other.tokenizer)
    pairs = _older_pairs(donor, other, hub)
    return next((f"another {name}" for name, (one, two) in pairs.items() if one != two), None)


def _older_pairs(donor: Model, other: Model, hub: Hub) -> dict[str, tuple[bytes, bytes]]:
    one, two = donor.small_files(hub), other.small_files(hub)
    return {name: (one[name], two[name]) for name in _OLDER if name in one and name in two}


def uncompared(stage: Stage, models: Mapping[ModelName, Model], hub: Hub) -> Iterator[str]:
    """A remark for each model of which nothing tells whether its token ids mean what the donor's do."""
    donor = models[stage.config.donor]
    for name in _with_tokens(stage) if stage.config.tokenizer is None else ():
        other = models[name]
        if other is donor or (donor.tokenizer and other.tokenizer):
            continue
        if not _older_pairs(donor, other, hub):
            yield f"{name}: it has no file in which its tokens could be compared with those of {stage.config.donor}"
