"""The vocabulary of a merge that chooses one: planned from the models' small files, before any weights are fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bot.errors import ShoalError
from bot.hub import Hub
from bot.merges.origins import Origin
from bot.merges.recipe_file import RecipeFile
from bot.sources.vocabulary import tokenizer_mismatch
from merging.blueprint import HeadersAlone
from merging.companions import COMPANIONS
from merging.errors import MergingError
from merging.mergekit_config import ModelName
from merging.source_tokenizer import CONFIG, SourceTokenizer, read_source_tokenizer
from merging.vocabulary import Vocabulary, plan_vocabulary
from merging.vocabulary_view import vocabulary_views

_OLDER = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt")
"""Files that hold a vocabulary where there is no tokenizer.json."""


def vocabulary_of(recipe: RecipeFile, origins: Mapping[ModelName, Origin], hub: Hub) -> Vocabulary | None:
    """The result's vocabulary, if it is to be built anew; None: all models must have the same.

    Raises:
        ShoalError: the vocabularies do not go together.
    """
    choice = recipe.config.tokenizer
    if choice is None:
        _check_alike(recipe, origins, hub)
        return None
    tokenizers = _tokenizers(recipe, origins, hub)
    try:
        found = plan_vocabulary(
            tokenizers,
            choice.source,
            base=recipe.config.base,
            pad_to_multiple_of=choice.pad_to_multiple_of,
            overrides=choice.tokens,
        )
        headers = {name: HeadersAlone(str(name), origin.headers) for name, origin in origins.items()}
        vocabulary_views(found, headers, by_token(origins))  # looks whether every model has what it takes
    except MergingError as error:
        raise ShoalError(f"{recipe.path}: {error}") from error
    return found


def by_token(origins: Mapping[ModelName, Origin]) -> dict[ModelName, dict[str, str]]:
    """For each model the tensors with a row per token: name in the result → name in its files."""
    return {name: origin.blueprint.by_token for name, origin in origins.items()}


def _tokenizers(recipe: RecipeFile, origins: Mapping[ModelName, Origin], hub: Hub) -> dict[ModelName, SourceTokenizer]:
    found, reasons = {}, {}
    for name, origin in origins.items():
        try:
            found[name] = read_source_tokenizer(str(name), _small_files(origin, hub), origin.blueprint.rows)
        except MergingError as error:
            reasons[name] = str(error).removeprefix(f"{name}: ")
    if reasons:
        raise recipe.told(recipe.of_models(reasons))
    return found


def _small_files(origin: Origin, hub: Hub, names: Iterable[str] = (CONFIG, *COMPANIONS)) -> dict[str, bytes]:
    if origin.folder is not None:
        return {name: (origin.folder / name).read_bytes() for name in names if origin.has(name)}
    assert origin.member is not None
    return {name: hub.read(origin.member.repo, origin.member.sha, name) for name in names if origin.has(name)}


def _check_alike(recipe: RecipeFile, origins: Mapping[ModelName, Origin], hub: Hub) -> None:
    """The same token ids must mean the same tokens in all models that give embeddings or a head."""
    donor = origins[recipe.config.donor]
    reasons = {}
    for name in _with_tokens(recipe):
        if difference := _difference(donor, origins[name], hub):
            why = f"its tokenizer is not that of {donor.name} ({difference})"
            reasons[name] = f"{why}; add `tokenizer_source: union` to merge vocabularies"
    if reasons:
        raise recipe.told(recipe.of_models(reasons))


def _with_tokens(recipe: RecipeFile) -> list[ModelName]:
    """The models whose embeddings or head are merged with the donor's."""
    ends = (recipe.config.slices[0], recipe.config.slices[-1])
    return list(dict.fromkeys(entry.model for end in ends for entry in end.inputs))


def _difference(donor: Origin, other: Origin, hub: Hub) -> str | None:
    """In what two vocabularies differ: by tokenizer.json if both have it, else by the older files that both have."""
    if donor.tokenizer and other.tokenizer:
        return tokenizer_mismatch(donor.tokenizer, other.tokenizer)
    one, two = (_small_files(origin, hub, _shared(donor, other)) for origin in (donor, other))
    return next((f"another {name}" for name in one if one[name] != two[name]), None)


def _shared(donor: Origin, other: Origin) -> list[str]:
    return [name for name in _OLDER if donor.has(name) and other.has(name)]


def uncompared(recipe: RecipeFile, origins: Mapping[ModelName, Origin]) -> Iterator[str]:
    """A remark for each model of which nothing tells whether its token ids mean what the donor's do."""
    donor = origins[recipe.config.donor]
    for name in _with_tokens(recipe) if recipe.config.tokenizer is None else ():
        other = origins[name]
        if other is not donor and not (donor.tokenizer and other.tokenizer) and not _shared(donor, other):
            yield f"{name}: it has no file in which its tokens could be compared with those of {donor.name}"
