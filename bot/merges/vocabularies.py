"""The vocabulary of a merge that chooses one: planned from the models' small files, before any weights are fetched."""

from __future__ import annotations

from collections.abc import Mapping

from bot.errors import ShoalError
from bot.hub import Hub
from bot.merges.origins import Origin
from bot.merges.recipe_file import RecipeFile
from bot.sources.vocabulary import tokenizer_mismatch
from merging.blueprint import HeadersAlone
from merging.companions import COMPANIONS, companion_files
from merging.errors import MergingError
from merging.mergekit_config import ModelName
from merging.source_tokenizer import CONFIG, SourceTokenizer, read_source_tokenizer
from merging.vocabulary import Vocabulary, plan_vocabulary
from merging.vocabulary_view import vocabulary_views


def vocabulary_of(recipe: RecipeFile, origins: Mapping[ModelName, Origin], hub: Hub) -> Vocabulary | None:
    """The result's vocabulary, if it is to be built anew; None: all models must have the same.

    Raises:
        ShoalError: the vocabularies do not go together.
    """
    choice = recipe.config.tokenizer
    if choice is None:
        _check_alike(recipe, origins)
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


def _small_files(origin: Origin, hub: Hub) -> dict[str, bytes]:
    if origin.folder is not None:
        return companion_files(origin.folder) | {CONFIG: (origin.folder / CONFIG).read_bytes()}
    assert origin.member is not None
    names = [file.path for file in origin.member.candidate.wanted_files if file.path in (CONFIG, *COMPANIONS)]
    return {name: hub.read(origin.member.repo, origin.member.sha, name) for name in names}


def _check_alike(recipe: RecipeFile, origins: Mapping[ModelName, Origin]) -> None:
    """The same token ids must mean the same tokens in all models that give embeddings or a head."""
    config = recipe.config
    donor = origins[config.donor].tokenizer
    reasons = {}
    for name in dict.fromkeys(entry.model for end in (config.slices[0], config.slices[-1]) for entry in end.inputs):
        other = origins[name].tokenizer
        if donor and other and (difference := tokenizer_mismatch(donor, other)):
            why = f"its tokenizer is not that of {config.donor} ({difference})"
            reasons[name] = f"{why}; add `tokenizer_source: union` to merge vocabularies"
    if reasons:
        raise recipe.told(recipe.of_models(reasons))
