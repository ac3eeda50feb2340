"""Guards: whether a merge keeps a skill that the search does not optimise.

A test of non-inferiority: the burden of proof is the merge's. It keeps a guard if the lower confidence limit of its
paired difference to the reference is above minus the drop that the watchlist allows, so too few items refuse a merge
rather than let it pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.hub.pool.pool import Pool
from bot.scoring.evaluator import Evaluation
from bot.search.baselines import Baseline
from bot.search.results import BaselineKind, GuardResult
from bot.watchlist.domain import Guard, Reference
from evaluation.scores import make_strata
from evaluation.statistics.intervals import skill_interval
from evaluation.statistics.paired import paired_difference
from evaluation.statistics.values import Stratum

SEED = 0
"""Seed of the bootstrap of graded scores, so that the same scores give the same limits."""

KINDS: Mapping[Reference, BaselineKind] = {
    Reference.BASE: BaselineKind.BASE,
    Reference.BEST_SOURCE: BaselineKind.SOURCE,
}
"""The kind of baselines that a guard compares with."""


def refuse_references(guards: Sequence[Guard], pool: Pool) -> str | None:
    """Why a pool does not fit the guards: one compares with a base, and there is none; None if it does."""
    for guard in guards:
        if guard.reference is Reference.BASE and pool.base is None:
            return (
                f"guards: {guard.skill.name}: reference is {guard.reference}, and the sources have no base in common; "
                f"name one under base, or write reference: {Reference.BEST_SOURCE}"
            )
    return None


def compare_guards(
    merge: Evaluation,
    baselines: Sequence[tuple[Baseline, Evaluation]],
    guards: Sequence[Guard],
    directions: Mapping[str, bool],
    confidence: float,
) -> tuple[GuardResult, ...]:
    """Compare a merge with each guard's reference, by their scores on one split.

    baselines: scored on the same split. directions: whether higher is better, by task. confidence: of the one-sided
    lower limit.

    The best source is not known, only measured; so a merge must keep the guard beside every source, and the result is
    of the source with the lowest limit. As all must be passed, none of these tests needs a correction.
    """
    results = []
    for guard in guards:
        own = make_strata(guard.skill, directions, merge.scores)
        compared = [
            _compare(guard, own, baseline.name, make_strata(guard.skill, directions, evaluation.scores), confidence)
            for baseline, evaluation in baselines
            if baseline.kind is KINDS[guard.reference]
        ]
        results.append(min(compared, key=lambda one: one.limit))
    return tuple(results)


def _compare(
    guard: Guard, own: Sequence[Stratum], name: str, theirs: Sequence[Stratum], confidence: float
) -> GuardResult:
    """The result beside one reference; both limits of an interval at 2c - 1 are one-sided limits at confidence c."""
    return GuardResult(
        guard=guard.skill.name,
        reference=name,
        max_drop=guard.max_drop,
        score=skill_interval(own, SEED),
        reference_score=skill_interval(theirs, SEED),
        difference=paired_difference(own, theirs, SEED).interval,
        limit=paired_difference(own, theirs, SEED, 2 * confidence - 1).low,
    )
