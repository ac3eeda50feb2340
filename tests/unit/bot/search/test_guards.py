"""Guards: what a merge must keep, and how much proof that takes."""

from __future__ import annotations

import numpy as np
import pytest

from bot.scoring.evaluator import Evaluation
from bot.search.baselines import Baseline
from bot.search.gate import apply_gate, describe_refusals
from bot.search.guards import compare_guards
from bot.search.results import BaselineKind, GuardResult
from bot.watchlist.domain import GateSettings, Guard, Reference
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from evaluation.statistics.intervals import tango
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

KNOWLEDGE = Skill("knowledge", (SkillTask("k", "acc"),), in_search=False)
MATH = Skill("math", (SkillTask("m", "acc"),))
DIRECTIONS = {"k:acc": True, "m:acc": True}


def scored(name: str, values: list[float], math: list[float] | None = None) -> Evaluation:
    """A model with these item values of the guard, and of the objective if they are given."""
    recipe = WeightMerge.single(ModelId(name, "0"), Partition.even(1, 1, False, False), "float32")
    items = [("knowledge", "k:acc", values), *([("math", "m:acc", math)] if math else [])]
    scores = [
        ItemScore(skill, task, f"{item:04}", value, None)
        for skill, task, row in items
        for item, value in enumerate(row)
    ]
    return Evaluation(recipe, tuple(scores), None, 1.0)


def rate(right: int, items: int = 200) -> list[float]:
    """Item values of which the first ones are right."""
    return [float(item < right) for item in range(items)]


def baseline(name: str, kind: BaselineKind, values: list[float]) -> tuple[Baseline, Evaluation]:
    evaluation = scored(name, values)
    return Baseline(name, kind, evaluation.recipe), evaluation


def compare(
    values: list[float], reference: Reference = Reference.BASE, max_drop: float = 0.05, confidence: float = 0.95
) -> GuardResult:
    known = [
        baseline("mean", BaselineKind.PLAIN, rate(200)),
        baseline("weak", BaselineKind.SOURCE, rate(60)),
        baseline("strong", BaselineKind.SOURCE, rate(180)),
        baseline("base", BaselineKind.BASE, rate(120)),
    ]
    guard = Guard(KNOWLEDGE, max_drop, reference)
    (result,) = compare_guards(scored("merge", values), known, [guard], DIRECTIONS, confidence)
    return result


def test_a_guard_is_kept_if_the_lower_limit_is_above_the_drop_that_is_allowed() -> None:
    same = compare(rate(120))
    assert (same.guard, same.reference, same.difference.mean) == ("knowledge", "base", 0.0)
    assert (same.score.mean, same.reference_score.mean) == (0.6, 0.6)
    # Tango's limit of no discordant item in 200: -z² / (n + z²), z = 1.645.
    assert same.limit == pytest.approx(-(1.6449**2) / (200 + 1.6449**2), abs=1e-4)
    assert same.is_kept and not compare(rate(120), max_drop=0.013).is_kept


def test_the_limit_is_one_sided_at_the_gates_confidence() -> None:
    lost = compare(rate(114))
    assert lost.difference.mean == pytest.approx(-0.03)
    assert lost.limit == pytest.approx(tango(0, 6, 200, confidence=0.9).low)
    assert (lost.difference.low, lost.difference.high) == pytest.approx((tango(0, 6, 200).low, tango(0, 6, 200).high))
    assert lost.limit > lost.difference.low
    assert not lost.is_kept and compare(rate(114), confidence=0.6).is_kept


def test_a_small_loss_on_few_items_is_not_taken_for_none() -> None:
    """The burden of proof is the merge's: what cannot be shown is refused."""
    few = Guard(KNOWLEDGE, 0.05, Reference.BASE)
    (result,) = compare_guards(
        scored("merge", rate(12, 20)),
        [baseline("base", BaselineKind.BASE, rate(12, 20))],
        [few],
        DIRECTIONS,
        0.95,
    )
    assert result.difference.mean == 0 and not result.is_kept


def test_the_best_source_is_the_one_that_is_hardest_to_keep_up_with() -> None:
    assert compare(rate(180), Reference.BEST_SOURCE).is_kept
    lost = compare(rate(150), Reference.BEST_SOURCE)
    assert (lost.reference, lost.is_kept) == ("strong", False)
    assert compare(rate(150), Reference.BASE).is_kept


def test_where_lower_is_better_a_higher_value_is_a_loss() -> None:
    guard = Guard(KNOWLEDGE, 0.05, Reference.BASE)
    known = [baseline("base", BaselineKind.BASE, rate(100))]
    higher, lower = (
        compare_guards(scored("merge", rate(right)), known, [guard], {"k:acc": False}, 0.95)[0] for right in (140, 60)
    )
    assert not higher.is_kept and lower.is_kept
    assert higher.difference.mean == pytest.approx(-0.2)


def test_the_gate_refuses_a_better_merge_that_lost_a_guard_and_says_so() -> None:
    settings = GateSettings(0.95, {}, 1.0)
    merge = scored("merge", rate(90), math=rate(180))
    base = scored("base", rate(120), math=rate(100))
    guard = Guard(KNOWLEDGE, 0.05, Reference.BASE)
    kept = compare_guards(merge, [(Baseline("base", BaselineKind.BASE, base.recipe), base)], [guard], DIRECTIONS, 0.95)
    (free,) = apply_gate([merge], [("base", base)], [MATH], DIRECTIONS, settings)
    (held,) = apply_gate([merge], [("base", base)], [MATH], DIRECTIONS, settings, {merge.recipe.digest: kept})
    assert free.passed and not held.passed
    assert (held.p_value, held.alpha) == (free.p_value, free.alpha)
    assert held.guards == kept
    reason = "may have lost knowledge: -0.150 against base, with a lower limit of -0.196; it must be above -0.050"
    assert held.reason == reason
    assert describe_refusals([held]) == f"the one merge on the front did not pass the gate: {reason}"


@pytest.mark.slow
def test_a_merge_that_lost_what_it_may_just_not_lose_is_let_through_in_one_case_of_twenty() -> None:
    rng = np.random.default_rng(3)
    guard, runs, kept = Guard(KNOWLEDGE, 0.1, Reference.BASE), 600, 0
    for _ in range(runs):
        draws = rng.random(200)
        # 30 % of the items tell the two apart: 10 % for the merge, 20 % for the base.
        ours, theirs = draws < 0.5, (draws >= 0.1) & (draws < 0.6)
        ours = ours & ~((draws >= 0.4) & (draws < 0.5))
        (result,) = compare_guards(
            scored("merge", ours.astype(float).tolist()),
            [baseline("base", BaselineKind.BASE, theirs.astype(float).tolist())],
            [guard],
            DIRECTIONS,
            0.95,
        )
        kept += result.is_kept
    assert 0.02 <= kept / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
