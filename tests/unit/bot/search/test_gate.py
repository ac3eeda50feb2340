"""The gate: who passes, who does not, and how often chance gets through."""

from __future__ import annotations

import numpy as np
import pytest

from bot.errors import ShoalError
from bot.scoring.evaluator import Evaluation
from bot.search.gate import apply_gate
from bot.watchlist.domain import GateSettings
from evaluation.answers.degenerate import EMPTY, FINE, FLAT
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

SKILLS = (Skill("math", (SkillTask("m", "acc"),)), Skill("language", (SkillTask("l", "acc"),)))
DIRECTIONS = {"m:acc": True, "l:acc": True}
SETTINGS = GateSettings(0.95, {}, 0.02)
N = 200


def scored(
    name: str, math: float | list[float], language: float | list[float], flags: int = 0, flag: str = EMPTY
) -> Evaluation:
    """A model with these rates (its first items are right) or these very item values."""
    recipe = WeightMerge.single(ModelId(name, "0"), Partition.even(1, 1, False, False), "float32")
    scores = []
    for skill, given in zip(SKILLS, (math, language), strict=True):
        values = given if isinstance(given, list) else [float(item < given * N) for item in range(N)]
        scores += [
            ItemScore(skill.name, skill.tasks[0].key, f"{item:04}", value, flag if item < flags else FINE)
            for item, value in enumerate(values)
        ]
    return Evaluation(recipe, tuple(scores), None, 1.0)


BASELINES = [
    ("maths", scored("maths", 0.9, 0.1)),
    ("polyglot", scored("polyglot", 0.1, 0.9)),
    ("mean", scored("mean", 0.5, 0.5)),
]


def test_a_merge_that_beats_each_baseline_in_some_skill_passes() -> None:
    (gate_result,) = apply_gate([scored("merge", 0.8, 0.8)], BASELINES, SKILLS, DIRECTIONS, SETTINGS)
    assert gate_result.passed and gate_result.scores == (0.8, 0.8)
    assert "beats every baseline" in gate_result.reason


def test_a_merge_that_is_no_better_than_the_plain_mean_is_held_back_with_a_reason() -> None:
    (gate_result,) = apply_gate([scored("merge", 0.51, 0.5)], BASELINES, SKILLS, DIRECTIONS, SETTINGS)
    assert not gate_result.passed
    assert gate_result.reason.startswith("does not clearly beat mean in any skill (at best +0.010 in math, p = ")


def test_a_lower_is_better_metric_is_turned() -> None:
    turned = {"m:acc": False, "l:acc": True}
    baseline = [("baseline", scored("baseline", 0.5, 0.5))]
    lower, higher = apply_gate([scored("a", 0.2, 0.5), scored("b", 0.8, 0.5)], baseline, SKILLS, turned, SETTINGS)
    assert lower.passed and not higher.passed


def test_the_watchlists_minimum_and_degenerate_answers_hold_a_merge_back() -> None:
    minimum = GateSettings(0.95, {"language": 0.85}, 0.02)
    (low,) = apply_gate([scored("merge", 0.8, 0.8)], BASELINES, SKILLS, DIRECTIONS, minimum)
    assert not low.passed and low.reason == "language is 0.800, below the watchlist's minimum of 0.85"
    (looping,) = apply_gate([scored("merge", 0.8, 0.8, flags=20)], BASELINES, SKILLS, DIRECTIONS, SETTINGS)
    assert (
        not looping.passed and looping.reason == "10.0% of its answers in math are empty or looping; 2.0% are allowed"
    )
    (flat,) = apply_gate([scored("merge", 0.8, 0.8, 20, FLAT)], BASELINES, SKILLS, DIRECTIONS, SETTINGS)
    assert flat.reason == "10.0% of its pictures in math are flat, saturated, equal or not finite; 2.0% are allowed"


def test_a_member_that_could_not_be_scored_is_held_back() -> None:
    failed = Evaluation(scored("x", 1.0, 1.0).recipe, (), "its worker died", 0.0)
    good, bad = apply_gate([scored("merge", 0.8, 0.8), failed], BASELINES, SKILLS, DIRECTIONS, SETTINGS)
    assert good.passed and not bad.passed and bad.reason == "could not be scored: its worker died"


def test_a_baseline_that_was_not_scored_stops_the_gate_rather_than_lowering_it() -> None:
    strong = Evaluation(scored("strong", 1.0, 1.0).recipe, (), "CUDA out of memory", 0.0, transient=True)
    with pytest.raises(ShoalError, match="strong: was not scored, so no merge can be compared with it"):
        apply_gate([scored("merge", 0.8, 0.8)], [*BASELINES, ("strong", strong)], SKILLS, DIRECTIONS, SETTINGS)


def test_without_any_baseline_nothing_passes() -> None:
    (gate_result,) = apply_gate([scored("merge", 0.8, 0.8)], [], SKILLS, DIRECTIONS, SETTINGS)
    assert not gate_result.passed and gate_result.reason == "there is no baseline to compare it with"


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 10])
def test_members_that_are_no_better_pass_in_at_most_one_front_of_twenty(members: int) -> None:
    """The family-wise rate of false passes, over 400 fronts whose members all have the baseline's true rates."""
    rng = np.random.default_rng(1)

    def draw(name: str) -> Evaluation:
        return scored(name, (rng.random(N) < 0.6).astype(float).tolist(), (rng.random(N) < 0.6).astype(float).tolist())

    fronts, false = (400, 0) if members == 1 else (100, 0)
    for _ in range(fronts):
        gate_results = apply_gate(
            [draw(f"m{index}") for index in range(members)],
            [("baseline", draw("baseline"))],
            SKILLS,
            DIRECTIONS,
            SETTINGS,
        )
        false += any(gate_result.passed for gate_result in gate_results)
    # Three standard errors above 5 %.
    assert false / fronts <= 0.05 + 3 * (0.05 * 0.95 / fronts) ** 0.5


@pytest.mark.slow
def test_with_twenty_times_the_members_the_same_margin_is_not_enough() -> None:
    margin = [float(item < 112) for item in range(N)]
    member = scored("merge", margin, 0.5)
    baseline = [("baseline", scored("baseline", 0.5, 0.5))]
    (alone,) = apply_gate([member], baseline, SKILLS, DIRECTIONS, SETTINGS)
    hopeless = [scored(f"h{index}", 0.5, 0.5) for index in range(200)]
    crowded = apply_gate([member, *hopeless], baseline, SKILLS, DIRECTIONS, SETTINGS)[0]
    assert alone.passed and not crowded.passed
