"""The facts of a recipe, from the recipe itself and from the pool."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bot.hub.inspection.member import Member, distinct_remotes
from bot.hub.inspection.mismatch import note_differences
from bot.hub.pool.pool import Pool
from bot.release.card.merge_facts import (
    BaseFacts,
    ConversionFacts,
    CostFacts,
    LastStageFacts,
    PartFacts,
    PathFacts,
    RecipeFacts,
    SourceFacts,
    WeightMergeFacts,
)
from merging.kinds import KINDS
from merging.methods import METHODS
from merging.paths.cost import Shape, model_cost
from merging.paths.folding import folding_rule
from merging.recipes.last_stage import LastStage
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.family import TensorHeader
from merging.sources.renamed import open_model
from merging.tensor_names import renumber


def recipe_facts(recipe: Recipe, pool: Pool, mergekit_yaml: str) -> RecipeFacts:
    """The recipe's facts; `mergekit_yaml` is the text of its file for mergekit."""
    merge = _path_facts(recipe, pool) if recipe.hops else _weight_merge_facts(recipe.parts[0])
    is_in_yaml = any(line.strip() and not line.startswith("#") for line in mergekit_yaml.splitlines())
    return RecipeFacts(merge, recipe.dtype, recipe.digest, mergekit_yaml, pool.vocabulary, is_in_yaml)


def base_facts(recipe: Recipe, pool: Pool) -> SourceFacts | None:
    """The pool's base if its weights went into the merge; some methods need none, nor does a path through sources."""
    base = pool.base
    return source_facts(base, pool) if base and base.ref in recipe.merged_models else None


def sources_facts(recipe: Recipe, pool: Pool) -> tuple[SourceFacts, ...]:
    """The sources whose weights went into the merge, in the recipe's order."""
    members = {member.ref: member for member in pool.sources}
    return tuple(source_facts(members[origin], pool) for origin in recipe.merged_models if origin in members)


def token_sources_facts(recipe: Recipe, pool: Pool) -> tuple[SourceFacts, ...]:
    """The members that were read for their tokens' rows alone."""
    given = [member for member in pool.members if member.ref in recipe.origins]
    return tuple(source_facts(member, pool) for member in given if member.ref not in recipe.merged_models)


def last_stage_facts(recipe: Recipe, pool: Pool) -> SourceFacts | None:
    """The adapter of the recipe's last stage; None if it has none."""
    stages = [merge.last_stage for merge in recipe.merges if merge.last_stage]
    return source_facts(pool.staged, pool) if stages and pool.staged else None


def source_facts(member: Member, pool: Pool) -> SourceFacts:
    """A member of the pool as the card names it."""
    note = note_differences(pool.leader, member) or ""
    parts = tuple(member.components) if member.partial else ()
    licence, file = member.candidate.licence or "unknown", member.candidate.meant_file
    own = SourceFacts(member.repo, member.sha, licence, note, parts=parts, file=file)
    if member.adaptation is None:
        return own
    base = member.adaptation.base
    return replace(own, adapted=BaseFacts(base.repo, base.sha, base.candidate.licence or "unknown"))


def conversion_facts(recipe: Recipe, pool: Pool) -> tuple[ConversionFacts, ...]:
    """The repos whose weights went into the merge and were pickled."""
    used = distinct_remotes(member for member in pool.read_models if member.ref in recipe.origins)
    candidates = [remote.candidate for remote in used]
    return tuple(
        ConversionFacts(one.repo, one.pull_request, tuple((file.path, file.content_id or "") for file in pickles))
        for one in candidates
        if (pickles := [file for file in one.weight_files if one.is_pickled]) or one.pull_request is not None
    )


def cost_facts(recipe: Recipe, pool: Pool, folder: Path) -> CostFacts:
    """Size and cost of a release in relation to a source's. folder: the written release."""
    source, weights = pool.leader, open_model(folder)
    if not KINDS[pool.kind].has_paths:
        released, own = (
            sum(math.prod(one.shape) for one in some.values()) for some in (weights.headers, source.headers)
        )
        return CostFacts(released, own, times=1.0)
    names = weights.names
    inside, beside = source.divide(pool.merged_headers)
    around = sum(math.prod(shape) for shape in _weights(beside, names).values())
    release = model_cost(_weights(inside, names), source.language, recipe.layers)
    alone = model_cost(_weights(source.divide(source.headers)[0], names), source.language, range(pool.layers))
    times = release.per_token / alone.per_token
    parameters = (release.parameters + around, alone.parameters + around)
    return CostFacts(*parameters, times, source.experts, release.per_token)


def _weights(headers: Mapping[str, TensorHeader], released: Iterable[str]) -> Mapping[str, Shape]:
    """Shapes of tensors, without the buffers that older versions stored: a release does not have them."""
    kept = {renumber(name, 0) for name in released}
    return {name: header.shape for name, header in headers.items() if renumber(name, 0) in kept}


def _path_facts(path: Recipe, pool: Pool) -> PathFacts:
    numbers = {part.digest: number for number, part in enumerate(path.merges, start=1)}
    parts = tuple(
        PartFacts(f"merge {numbers[part.digest]}", _weight_merge_facts(part))
        if part.digest in numbers
        else PartFacts(part.sources[0].name, None)
        for part in path.parts
    )
    source = pool.prototype
    return PathFacts(
        parts=parts,
        depth=path.parts[0].groups.layers,
        hops=path.hops,
        embedding=path.embedding,
        head=path.head,
        scales_in_yaml=folding_rule(source.language, source.repo).by_factor,
    )


def _weight_merge_facts(recipe: WeightMerge) -> WeightMergeFacts:
    return WeightMergeFacts(
        method=recipe.method,
        sentence=METHODS[recipe.method].sentence,
        draws=METHODS[recipe.method].draws,
        base=recipe.base.name if recipe.base else None,
        sources=tuple(source.name for source in recipe.sources),
        groups=recipe.groups.labels,
        parameters=recipe.parameters,
        whole=tuple((name, source.name) for name, source in recipe.groups.whole.items() if source is not None),
        last_stage=_last_stage(recipe.last_stage) if recipe.last_stage else None,
    )


def _last_stage(stage: LastStage) -> LastStageFacts:
    adapter = stage.adapter
    return LastStageFacts(adapter.location, str(adapter.revision), adapter.file, stage.scale)
