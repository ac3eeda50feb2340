"""The gate: is a front member worth publishing? Decided on the validation split, by a rule written down here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.errors import ShoalError
from bot.scoring.cached import Evaluation
from bot.search.results import Comparison, GateResult
from evaluation.answers.degenerate import share
from evaluation.scores import strata, weighted_mean
from evaluation.skills import Skill
from evaluation.statistics.intervals import Stratum
from evaluation.statistics.paired import Paired, holm, skill_paired_better

RULE = (
    "For every rival (each source, the base, each plain merge) there is a skill in which the merge is better, by a "
    "paired one-sided test on the validation items. Per rival the smallest p-value is multiplied by the number of "
    "skills (Bonferroni); a merge's p-value is its largest over the rivals, for it has to beat them all "
    "(intersection-union); and the merges of a front are tested together by Holm's method. It must also reach the "
    "watchlist's minimum scores, and give no more empty or looping answers than the watchlist allows."
)


@dataclass(frozen=True)
class GateSettings:
    """What is asked: the confidence of the test, the lowest score by skill, the share of degenerate answers."""

    confidence: float
    minimum: Mapping[str, float]
    max_degenerate: float


Values = Mapping[str, tuple[Stratum, ...]]
"""A model's item values by skill."""


@dataclass(frozen=True)
class Tested:
    """A member's comparisons, the p-value that follows, what it is held against, and whether it is below."""

    comparisons: tuple[Comparison, ...]
    p_value: float
    alpha: float
    beats: bool


def apply_gate(
    members: Sequence[Evaluation],
    baselines: Sequence[tuple[str, Evaluation]],
    skills: Sequence[Skill],
    directions: Mapping[str, bool],
    settings: GateSettings,
) -> tuple[GateResult, ...]:
    """Apply the rule to all members of a front at once; one verdict each, in order.

    A member that could not be scored is refused. Rivals must have been scored: without one of them, a merge that
    need not beat it would pass too easily.
    """
    if unscored := [name for name, baseline in baselines if baseline.failure is not None]:
        raise ShoalError(f"{unscored[0]}: was not scored, so no merge can be compared with it; run the cycle again")
    known = [(name, _values(baseline, skills, directions)) for name, baseline in baselines]
    values = [None if member.failure else _values(member, skills, directions) for member in members]
    compared = [() if own is None else _compare(own, known) for own in values]
    p_values = [_p_value(comparisons, len(skills)) for comparisons in compared]
    better = holm(p_values, 1 - settings.confidence)
    alphas = _thresholds(p_values, 1 - settings.confidence)
    return tuple(
        _gate_result(member, own, Tested(comparisons, p_value, alpha, beats), settings)
        for member, own, comparisons, p_value, alpha, beats in zip(
            members, values, compared, p_values, alphas, better, strict=True
        )
    )


def first_threshold(confidence: float, skills: int, members: int) -> float:
    """What the smallest p-value of a single test must not exceed: of the rule's corrections, the strictest case."""
    return (1 - confidence) / (skills * members)


def _values(sat: Evaluation, skills: Sequence[Skill], directions: Mapping[str, bool]) -> Values:
    return {skill.name: strata(skill, directions, sat.scores) for skill in skills}


def _compare(own: Values, baselines: Sequence[tuple[str, Values]]) -> tuple[Comparison, ...]:
    return tuple(
        _comparison(name, skill, skill_paired_better(own[skill], theirs[skill], seed=0))
        for name, theirs in baselines
        for skill in own
    )


def _comparison(baseline: str, skill: str, paired: Paired) -> Comparison:
    return Comparison(baseline, skill, paired.difference, paired.low, paired.high, paired.p_value)


def _p_value(comparisons: Sequence[Comparison], skills: int) -> float:
    """Of "some rival is not beaten in any skill": the largest over rivals of the Bonferroni-corrected smallest."""
    return max((min(1.0, best.p_value * skills) for best in _best_per_rival(comparisons)), default=1.0)


def _best_per_rival(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """For each rival the skill in which the member is most clearly better."""
    best: dict[str, Comparison] = {}
    for comparison in comparisons:
        if comparison.baseline not in best or comparison.p_value < best[comparison.baseline].p_value:
            best[comparison.baseline] = comparison
    return tuple(best.values())


def _thresholds(p_values: Sequence[float], alpha: float) -> tuple[float, ...]:
    """What each p-value is held against by Holm's method: the k-th smallest of m against alpha / (m - k + 1)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    ranks = {index: rank for rank, index in enumerate(order)}
    return tuple(alpha / (len(p_values) - ranks[index]) for index in range(len(p_values)))


def _gate_result(member: Evaluation, own: Values | None, tested: Tested, settings: GateSettings) -> GateResult:
    digest = member.recipe.digest
    if own is None:
        return GateResult(digest, (), False, f"could not be scored: {member.failure}", 1.0, tested.alpha, ())
    scores = {skill: weighted_mean(parts) for skill, parts in own.items()}
    refusal = _too_low(scores, settings.minimum) or _degenerate(member, list(own), settings.max_degenerate)
    return GateResult(
        recipe=digest,
        scores=tuple(scores.values()),
        passed=tested.beats and refusal is None,
        reason=refusal or _why(tested, len(own)),
        p_value=tested.p_value,
        alpha=tested.alpha,
        comparisons=tested.comparisons,
    )


def _too_low(scores: Mapping[str, float], minimum: Mapping[str, float]) -> str | None:
    for skill, least in minimum.items():
        if scores[skill] < least:
            return f"{skill} is {scores[skill]:.3f}, below the watchlist's minimum of {least:g}"
    return None


def _degenerate(member: Evaluation, skills: Sequence[str], allowed: float) -> str | None:
    """Judged skill by skill, so that broken answers in one are not diluted by the others."""
    for skill in skills:
        found = share(score.flag for score in member.scores if score.skill == skill)
        if found > allowed:
            return f"{found:.1%} of its answers in {skill} are empty or looping; {allowed:.1%} are allowed"
    return None


def _why(tested: Tested, skills: int) -> str:
    """The rival that decided: the one it beats least clearly."""
    if not tested.comparisons:
        return "there is no rival to compare it with"
    closest = max(_best_per_rival(tested.comparisons), key=lambda best: best.p_value)
    told = f"{closest.difference:+.3f} in {closest.skill}, p = {min(1.0, closest.p_value * skills):.2g}"
    if tested.beats:
        return f"beats every rival in some skill; the closest is {closest.baseline} ({told})"
    return f"does not clearly beat {closest.baseline} in any skill (at best {told})"
