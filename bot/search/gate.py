"""The gate: is a front member worth publishing? Decided on the validation split, by the rule written down here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bot.errors import ShoalError
from bot.scoring.evaluator import Evaluation
from bot.search.comparisons import (
    SkillValues,
    compare_with_each,
    find_best_skills,
    p_value_of_all,
    read_skill_values,
)
from bot.search.results import Comparison, GateResult, GuardResult
from bot.watchlist.domain import GateSettings
from evaluation.answers.degenerate import degenerate_share, describe_degenerate
from evaluation.scores import weighted_mean
from evaluation.skills import Skill
from evaluation.statistics.paired import holm, holm_thresholds

RULE = (
    "For every baseline (each source, the base, each plain merge) there is a skill in which the merge is better, by a "
    "paired one-sided test on the validation items. Per baseline the smallest p-value is multiplied by the number of "
    "skills (Bonferroni); a merge's p-value is its largest over the baselines, because it has to beat them all "
    "(intersection-union); and the merges of a front are tested together by Holm's method. It must also reach the "
    "watchlist's minimum scores, give no more empty or looping answers, or degenerate pictures, than the watchlist "
    "allows, and keep each guard: the lower confidence limit of its difference to the guard's reference must be above "
    "the drop that is allowed."
)


@dataclass(frozen=True)
class _Test:
    """A member's comparisons with the baselines and what follows from them, corrected for the whole front.

    alpha: the threshold of p_value. is_better: whether Holm's method rejects "some baseline is not beaten".
    """

    comparisons: tuple[Comparison, ...]
    p_value: float
    alpha: float
    is_better: bool


def apply_gate(
    members: Sequence[Evaluation],
    baselines: Sequence[tuple[str, Evaluation]],
    skills: Sequence[Skill],
    directions: Mapping[str, bool],
    settings: GateSettings,
    guards: Mapping[str, tuple[GuardResult, ...]] = MappingProxyType({}),
) -> tuple[GateResult, ...]:
    """Apply the rule to all members of a front at once; one result each, in their order.

    baselines: names and evaluations on the members' split.
    directions: whether higher is better, by task.
    guards: the guards' results by recipe digest, of every member that could be scored.

    A member that could not be scored is refused. Raises ShoalError for a baseline that could not: a merge that need
    not beat it would pass too easily.
    """
    if unscored := [name for name, baseline in baselines if baseline.failure is not None]:
        raise ShoalError(f"{unscored[0]}: was not scored, so no merge can be compared with it; run the cycle again")
    known = [(name, read_skill_values(baseline, skills, directions)) for name, baseline in baselines]
    values = [None if member.failure else read_skill_values(member, skills, directions) for member in members]
    tests = _test_front([() if own is None else compare_with_each(own, known) for own in values], len(skills), settings)
    return tuple(
        _gate_result(member, own, test, settings, guards.get(member.recipe.digest, ()))
        for member, own, test in zip(members, values, tests, strict=True)
    )


def describe_refusals(results: Sequence[GateResult]) -> str:
    """Why nothing is released, in a line: the reason of the member that the test favours most."""
    refused = [result for result in results if not result.passed]
    if not refused:
        return "no merge was released"
    closest = min(refused, key=lambda result: result.p_value)
    if len(refused) == 1:
        return f"the one merge on the front did not pass the gate: {closest.reason}"
    return f"none of the {len(refused)} merges on the front passed the gate; the closest: {closest.reason}"


def first_threshold(confidence: float, skills: int, members: int) -> float:
    """The largest p-value with which a single test can pass when no other member of the front does."""
    return (1 - confidence) / (skills * members)


def _test_front(compared: Sequence[tuple[Comparison, ...]], skills: int, settings: GateSettings) -> list[_Test]:
    p_values = [p_value_of_all(comparisons, skills) for comparisons in compared]
    alphas = holm_thresholds(p_values, 1 - settings.confidence)
    better = holm(p_values, 1 - settings.confidence)
    return [_Test(*values) for values in zip(compared, p_values, alphas, better, strict=True)]


def _gate_result(
    member: Evaluation,
    own: SkillValues | None,
    test: _Test,
    settings: GateSettings,
    guards: tuple[GuardResult, ...],
) -> GateResult:
    digest = member.recipe.digest
    if own is None:
        return GateResult(digest, (), False, f"could not be scored: {member.failure}", 1.0, test.alpha, ())
    scores = {skill: weighted_mean(parts) for skill, parts in own.items()}
    refusal = (
        _low_score(scores, settings.minimum)
        or _degenerate_answers(member, list(own), settings.max_degenerate)
        or _lost_guard(guards)
    )
    return GateResult(
        recipe=digest,
        scores=tuple(scores.values()),
        passed=test.is_better and refusal is None,
        reason=refusal or _describe_test(test, len(own)),
        p_value=test.p_value,
        alpha=test.alpha,
        comparisons=test.comparisons,
        guards=guards,
    )


def _low_score(scores: Mapping[str, float], minimum: Mapping[str, float]) -> str | None:
    for skill, least in minimum.items():
        if scores[skill] < least:
            return f"{skill} is {scores[skill]:.3f}, below the watchlist's minimum of {least:g}"
    return None


def _lost_guard(guards: Sequence[GuardResult]) -> str | None:
    for guard in guards:
        if not guard.is_kept:
            return (
                f"may have lost {guard.guard}: {guard.difference.mean:+.3f} against {guard.reference}, with a lower "
                f"limit of {guard.limit:+.3f}; it must be above {-guard.max_drop:+.3f}"
            )
    return None


def _degenerate_answers(member: Evaluation, skills: Sequence[str], allowed: float) -> str | None:
    # Skill by skill, because good answers in one would dilute broken answers in another.
    for skill in skills:
        flags = [score.flag for score in member.scores if score.skill == skill]
        if (found := degenerate_share(flags)) > allowed:
            what, how = describe_degenerate(flags)
            return f"{found:.1%} of its {what} in {skill} are {how}; {allowed:.1%} are allowed"
    return None


def _describe_test(test: _Test, skills: int) -> str:
    """The reason that names the decisive baseline: the one that is beaten least clearly."""
    if not test.comparisons:
        return "there is no baseline to compare it with"
    closest = max(find_best_skills(test.comparisons), key=lambda best: best.p_value)
    numbers = f"{closest.difference:+.3f} in {closest.skill}, p = {min(1.0, closest.p_value * skills):.2g}"
    if test.is_better:
        return f"beats every baseline in some skill; the closest is {closest.baseline} ({numbers})"
    return f"does not clearly beat {closest.baseline} in any skill (at best {numbers})"
