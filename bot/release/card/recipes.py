"""What a card says of a recipe of either kind, as it follows from the recipe itself and from the pool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bot.hub.inspection import Member
from bot.hub.pool import Pool
from bot.release.card.facts import CostFacts, PartFacts, PathFacts, RecipeFacts, SourceFacts, WeightMergeFacts
from merging.partition import renumbered
from merging.paths.cost import Shape, cost, layers_of
from merging.paths.folding import folding_rule
from merging.recipes.path import PathRecipe, Recipe
from merging.recipes.weight_merge import METHODS, WeightMerge
from merging.sources.checkpoint import Checkpoint


def recipe_facts(recipe: Recipe, pool: Pool, mergekit_yaml: str) -> RecipeFacts:
    """The recipe as its card tells it; `mergekit_yaml` is the file that lies beside the card."""
    merge = _path_facts(recipe, pool) if isinstance(recipe, PathRecipe) else _weight_merge_facts(recipe)
    return RecipeFacts(merge, recipe.dtype, recipe.digest, mergekit_yaml)


def merge_kind(recipe: Recipe) -> str:
    """The kind of merge in a few words: "path of 9 layers", or a method."""
    if isinstance(recipe, WeightMerge):
        return recipe.method
    return f"path of {len(recipe.hops)} layer{'s' if len(recipe.hops) > 1 else ''}"


def base_facts(recipe: Recipe, pool: Pool) -> SourceFacts | None:
    """The base whose weights went into a merge: a method may do without one, and so does a path through sources."""
    base = pool.base
    return source_facts(base) if base and base.ref in recipe.origins else None


def sources_facts(recipe: Recipe, pool: Pool) -> tuple[SourceFacts, ...]:
    """Everything else whose weights went into a merge, in the recipe's order."""
    members = {member.ref: member for member in pool.sources}
    return tuple(source_facts(members[origin]) for origin in recipe.origins if origin in members)


def source_facts(member: Member) -> SourceFacts:
    """A member of the pool as a card names it."""
    return SourceFacts(member.repo, member.sha, member.candidate.licence or "unknown")


def cost_facts(recipe: Recipe, pool: Pool, folder: Path) -> CostFacts:
    """Size and speed of a release beside a source's. folder: its files, which hold nothing but weights."""
    source = pool.sources[0]
    shapes = _weights(source, Checkpoint.open(folder))
    release = cost(shapes, source.settings, layers_of(recipe))
    alone = cost(shapes, source.settings, range(pool.layers))
    return CostFacts(release.parameters, alone.parameters, release.per_token / alone.per_token)


def _weights(source: Member, release: Checkpoint) -> Mapping[str, Shape]:
    """A source's tensors without the buffers that older versions stored: a release does not have them."""
    kept = {renumbered(name, 0) for name in release.names}
    return {name: header.shape for name, header in source.headers.items() if renumbered(name, 0) in kept}


def _path_facts(path: PathRecipe, pool: Pool) -> PathFacts:
    numbers = {part.digest: number for number, part in enumerate(path.merges, start=1)}
    parts = tuple(
        PartFacts(f"merge {numbers[part.digest]}", _weight_merge_facts(part))
        if part.digest in numbers
        else PartFacts(part.sources[0].repo, None)
        for part in path.parts
    )
    source = pool.sources[0]
    return PathFacts(
        parts=parts,
        depth=path.parts[0].groups.layers,
        hops=path.hops,
        embedding=path.embedding,
        head=path.head,
        scales_in_yaml=folding_rule(source.settings, source.repo).by_factor,
    )


def _weight_merge_facts(recipe: WeightMerge) -> WeightMergeFacts:
    return WeightMergeFacts(
        method=recipe.method,
        draws=METHODS[recipe.method].draws,
        base=recipe.base.repo if recipe.base else None,
        sources=tuple(source.repo for source in recipe.sources),
        groups=recipe.groups.labels,
        parameters=recipe.parameters,
    )
