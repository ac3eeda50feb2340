"""How much of a search's gain is there on other items: by hand, and where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bot.scoring.evaluator import Evaluation
from bot.search.front.generalisation import measure_gap
from bot.search.results import GeneralisationGap
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from merging.evolution.pareto import hypervolume, nondominated
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

MATH, CROSS = SkillTask("m", "acc"), SkillTask("c", "acc")
SKILLS = (Skill("math", (MATH,)), Skill("cross", (CROSS, SkillTask("more", "err"))))
DIRECTIONS = {task.key: task.key != "more:err" for skill in SKILLS for task in skill.tasks}


def recipe(name: str) -> WeightMerge:
    return WeightMerge.single(ModelId(name, "0"), Partition.even(1, 1, False, False), "float32")


def evaluation(name: str, values: Sequence[Sequence[float]]) -> Evaluation:
    """values: of the items of each task."""
    tasks = [(skill.name, task.key) for skill in SKILLS for task in skill.tasks]
    scores = [
        ItemScore(skill, key, f"{key}{item:04}", float(value), None)
        for (skill, key), own in zip(tasks, values, strict=True)
        for item, value in enumerate(own)
    ]
    return Evaluation(recipe(name), tuple(scores), None, 1.0)


def rates(math: float, cross: float, error: float, items: int = 20) -> list[list[float]]:
    return [[float(item < rate * items) for item in range(items)] for rate in (math, cross, error)]


def test_gains_are_what_the_front_adds_to_the_baselines_on_each_split() -> None:
    front = {recipe("a").digest: (0.8, 0.3), recipe("b").digest: (0.5, 0.5)}
    baselines = {recipe("base").digest: (0.5, 0.2)}
    # cross is the mean of a rate and of minus an error rate: (0.8 - 0.4) / 2 = 0.2, and so on.
    a, b = evaluation("a", rates(0.7, 0.8, 0.4)), evaluation("b", rates(0.5, 1, 0.2))
    base = evaluation("base", rates(0.5, 0.4, 0.2))
    found = measure_gap(front, baselines, [a, b, base], SKILLS, DIRECTIONS, (0.0, 0.0))
    assert found is not None
    assert found.search == pytest.approx(0.5 * 0.5 + 0.3 * 0.3)
    assert found.validation == pytest.approx(0.5 * 0.4 + 0.2 * 0.2)
    assert found.search_gain == pytest.approx(found.search - 0.5 * 0.2)
    assert found.validation_gain == pytest.approx(found.validation - 0.5 * 0.1)
    assert found.gap == pytest.approx(0.24 - 0.19) and found.low < found.gap < found.high
    # What failed on the validation split counts on neither.
    broken = replace(b, scores=(), failure="the worker died")
    alone = measure_gap(front, baselines, [a, broken, base], SKILLS, DIRECTIONS, (0.0, 0.0))
    assert alone is not None and alone.search == pytest.approx(0.8 * 0.3)
    assert measure_gap({recipe("b").digest: (0.5, 0.5)}, baselines, [broken, base], SKILLS, DIRECTIONS, (0, 0)) is None


def test_the_limits_hold_the_luck_of_choosing_the_best_of_equals() -> None:
    """100 models of equal rates: whatever the front of them gains beyond their true scores is luck."""
    truth, items, names = (0.6, 0.5, 0.3), 200, [f"m{number}" for number in range(100)]
    held, gaps = 0, []
    reached = (truth[0], (truth[1] - truth[2]) / 2)
    for seed in range(12):
        random = np.random.default_rng(seed)
        search = {recipe(name).digest: _skills(random.binomial(items, truth) / items) for name in names}
        digests, points = list(search), list(search.values())
        front = {digests[index]: points[index] for index in nondominated(points)}
        validation = [
            evaluation(name, [(random.random(items) < rate).tolist() for rate in truth])
            for name in names
            if recipe(name).digest in front
        ]
        found = measure_gap(front, {}, validation, SKILLS, DIRECTIONS, (0.0, 0.0))
        assert found is not None
        luck = found.search_gain - hypervolume([reached], (0.0, 0.0))
        gaps.append(found.gap)
        held += found.low <= luck <= found.high
    assert held >= 10 and np.mean(gaps) > 0.02


def _skills(shares: Sequence[float]) -> tuple[float, float]:
    return shares[0], (shares[1] - shares[2]) / 2


def test_the_words_say_luck_only_where_the_items_show_it() -> None:
    lucky = GeneralisationGap(0.5, 0.46, 0.08, 0.06, 0.01, 0.03)
    assert lucky.describe().endswith("25% of the search's gain was luck (+0.0200, 95 % from +0.0100 to +0.0300)")
    assert "cannot tell from none (+0.0200, 95 % from -0.0100" in replace(lucky, low=-0.01).describe()
    unlucky = GeneralisationGap(0.5, 0.56, 0.08, 0.12, -0.06, -0.02)
    assert "more where it was not chosen (-0.0400" in unlucky.describe()
    # The limits allow for the bias of a front's volume, the difference does not: they may disagree.
    for gap in (replace(lucky, validation_gain=0.09), replace(unlucky, validation_gain=0.07)):
        assert "cannot tell from none" in gap.describe() and not gap.is_luck
