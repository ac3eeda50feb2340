"""The audition of a cycle: the sources of its pool, chosen among more by what they add to the base and each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bot.cycle.context import CycleContext
from bot.cycle.resources import fit_resources
from bot.cycle.steps import Folders, make_worker_spec
from bot.errors import ShoalError
from bot.hub.discovery.candidate import Verdict
from bot.hub.inspection.member import Member
from bot.hub.pool.choice import choose_by_rank, needs_audition
from bot.hub.pool.lineage import keep_compatible_licences, refuse_licences
from bot.hub.pool.pool import Family, Pool, choose_pool
from bot.hub.pool.unite import share_vocabulary
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation, EvaluatorFactory
from bot.search.audition import LEAST_SOURCES, Contender, choose_sources
from bot.search.comparisons import read_skill_values
from bot.search.results import AuditionRow, AuditionSummary
from bot.search.strategies.make import make_strategy
from bot.search.strategies.strategy import SearchStrategy
from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split
from merging.recipes.recipe import Recipe

BASE, CARRIER, PINNED, CANDIDATE = "base", "carrier", "pinned", "candidate"
"""The roles of models in an audition."""


def hold_audition(context: CycleContext, family: Family, folders: Folders, make_evaluator: EvaluatorFactory) -> Pool:
    """The pool of those sources that add most to the base and each other; keeps how they were chosen.

    Where no more sources are left than there are places, it is the pool by rank.

    Raises:
        ShoalError: the base or a pinned source could not be scored, or no other one.
        NoPool: fewer than two sources could be scored.
    """
    watchlist = context.watchlist
    if not needs_audition(watchlist, family):
        return choose_by_rank(family, watchlist.max_sources)
    models = _score_models(context, family, folders, make_evaluator)
    summary, refused = _choose(watchlist, family, models)
    context.ledger.keep(context.cycle.id, "audition", summary, AuditionSummary)
    for line in describe_audition(summary):
        context.narrator.say(line)
    chosen = {row.repo for row in summary.rows if row.chosen}
    sources = [source for source in family.sources if source.repo in chosen]
    return choose_pool(family, _leader_first(watchlist, sources), refused)


def describe_audition(summary: AuditionSummary) -> list[str]:
    """A line on the audition, and one for each model that it chose."""
    chosen = [row for row in summary.candidates if row.chosen]
    found = f"{len(summary.candidates)} candidates for {summary.places} places, {summary.items} items each"
    head = f"audition: {found}; {len(chosen)} chosen"
    return [head, *(f"chosen   {row.repo}: {row.reason}" for row in chosen)]


def role_of(family: Family, member: Member) -> str:
    """The role of a model in an audition."""
    if member is family.base:
        return BASE
    if member.ref == family.carrier:
        return CARRIER
    return PINNED if member in family.pinned else CANDIDATE


def _score_models(
    context: CycleContext, family: Family, folders: Folders, make_evaluator: EvaluatorFactory
) -> dict[str, Contender | str]:
    """Every model's scores on a part of the search split, or why it has none, by repo.

    The part has the first items of every task, so scores are those of the search, which does not take them again.
    """
    watchlist, timeout = context.watchlist, context.watchlist.workers.timeout
    assert watchlist.audition is not None  # otherwise nobody auditions
    pool = choose_by_rank(family, watchlist.max_sources)  # as large as the one that will be chosen
    strategy = make_strategy(watchlist, pool)
    alike = [member for member in family.members if _is_asked_alike(family, member, watchlist.search.vocabulary)]
    resources, _ = fit_resources(watchlist, strategy, pool, parted=len(alike) < len(family.members))
    spec = replace(
        make_worker_spec(context, family, folders, resources),
        sources=tuple(member.ref for member in alike),
        rounds=1,
        search_share=watchlist.audition.share,
    )
    recipes = {member.repo: _alone(strategy, family, member) for member in family.members}
    with make_evaluator(spec, timeout) as workers:
        evaluator = CachedEvaluator(context.ledger, workers, lambda model: make_evaluator(spec.alone(model), timeout))
        directions = dict(evaluator.facts(Split.SEARCH).directions)
        scored = _evaluate(context, evaluator, family.members, alike, recipes)

    def read(member: Member, evaluation: Evaluation) -> Contender | str:
        if evaluation.failure is not None:
            return evaluation.failure
        return Contender(member.repo, read_skill_values(evaluation, watchlist.evaluation_skills, directions))

    return {member.repo: read(member, scored[member.repo]) for member in family.members}


def _alone(strategy: SearchStrategy, family: Family, member: Member) -> Recipe:
    """The recipe that is a member alone, in the carrier if it is a part only, and with the last stage if merges have
    one; it may not be in the strategy's pool."""
    recipe = strategy.weight_merges.as_candidate(strategy.weight_merges.alone(member.ref))
    if not member.is_part_of(family.kind):
        return recipe
    return replace(recipe, groups=recipe.groups.lacking([member.ref], having=member.components))


def _is_asked_alike(family: Family, member: Member, vocabulary: str) -> bool:
    """Whether a model is asked with the tokenizer of the merges, and not alone with its own."""
    return family.carrier is not None or share_vocabulary((family.leader, member), vocabulary)


def _evaluate(
    context: CycleContext,
    evaluator: CachedEvaluator,
    members: Sequence[Member],
    alike: Sequence[Member],
    recipes: Mapping[str, Recipe],
) -> dict[str, Evaluation]:
    """Score models as they are published: together where they are `alike`, the others each with its own tokenizer."""
    with context.narrator.bar("audition", len(members)) as advance:

        def score(asked: CachedEvaluator, some: Sequence[Member]) -> dict[str, Evaluation]:
            scored = asked.evaluate(
                [recipes[one.repo] for one in some], Split.SEARCH, lambda: advance(1, ""), retry_transient=True
            )
            return {one.repo: evaluation for one, evaluation in zip(some, scored, strict=True)}

        found = score(evaluator, alike)
        for member in members:
            if member.repo not in found:
                with evaluator.alone(member.ref) as own:
                    found |= score(own, [member])
    return found


def _choose(
    watchlist: Watchlist, family: Family, models: Mapping[str, Contender | str]
) -> tuple[AuditionSummary, list[Verdict]]:
    """Who is chosen, and the verdicts on the others."""
    lineage = dict(family.lineage)
    base = [family.base] if family.base else []
    pinned, conflicting = keep_compatible_licences(family.pinned, family.given, lineage, family.noncommercial)
    others = {source.repo: source for source in family.sources if role_of(family, source) == CANDIDATE}
    kept = [_require(models, member, role_of(family, member)) for member in (*base, *pinned)]
    contenders = [model for repo in others if isinstance(model := models[repo], Contender)]
    if not contenders:
        raise ShoalError(_describe_silence([str(models[repo]) for repo in others]))

    def find_conflict(chosen: Sequence[str], repo: str) -> str | None:
        together = [*family.given, *pinned, *(others[one] for one in chosen)]
        return refuse_licences(others[repo], together, lineage, family.noncommercial)

    places = watchlist.max_sources - len(pinned)
    placed = choose_sources(contenders, kept, places, LEAST_SOURCES - len(pinned), find_conflict)
    reasons = {one.name: one.reason for one in placed}
    reasons |= {repo: f"could not be scored in the audition: {models[repo]}" for repo in others if repo not in reasons}
    reasons |= {verdict.repo: verdict.reason for verdict in conflicting}
    chosen = {one.name for one in placed if one.chosen} | {source.repo for source in pinned}
    rows = tuple(
        AuditionRow(
            repo=member.repo,
            sha=member.sha,
            role=role_of(family, member),
            scores=model.point if isinstance(model := models[member.repo], Contender) else (),
            chosen=member.repo in chosen,
            reason=reasons.get(member.repo, role_of(family, member)),
        )
        for member in (*base, *family.sources)
    )
    refused = [source.refuse(reasons[source.repo]) for source in family.sources if source.repo not in chosen]
    return AuditionSummary(contenders[0].items, places, rows), refused


def _require(models: Mapping[str, Contender | str], member: Member, role: str) -> Contender:
    """The scores of a model that takes part whatever the others do."""
    model = models[member.repo]
    if isinstance(model, Contender):
        return model
    raise ShoalError(
        f"{member.repo} ({role}): could not be scored in the audition ({model}); fix that (memory, workers.batch_size) "
        "or leave the model out, then run again"
    )


def _describe_silence(failures: Sequence[str]) -> str:
    ((reason, _),) = Counter(failures).most_common(1)
    return (
        f"audition: not one of {len(failures)} candidates could be scored; most often: {reason}; fix that (memory, "
        "workers.batch_size), then run again"
    )


def _leader_first(watchlist: Watchlist, sources: Sequence[Member]) -> list[Member]:
    """The sources by rank, but one with a chat template first if it is needed: the first one's is used.

    Where there is a carrier it is that one's, wherever it stands.
    """
    chat = any(skill.chat_template for skill in watchlist.asked_skills)
    return sorted(sources, key=lambda source: chat and source.has_chat_template is False)
