"""Decisions of a race: rounds, who is beaten, who is worth the rest of the items; closed formulas are the reference."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.racing.decisions import (
    Decision,
    Panel,
    RaceStatus,
    ScoreEstimate,
    beaten_by_any,
    chance_dominated,
    count_rounds,
    decide_candidate,
    round_ends,
)
from evaluation.racing.estimates import fit_item_model
from evaluation.scores import ItemScore, skill_scores
from evaluation.skills import Skill, SkillTask

EACH = 40
PANEL = Panel((0,) * EACH + (1,) * EACH + (2,) * EACH, np.array([[1.0, 0.0], [0.0, 0.25], [0.0, 0.75]]), (0, 1, 2))


def answers(*rates: float, seed: int = 0) -> np.ndarray:
    """One model's right and wrong answers, the same share of each task's first items whatever the round."""
    random = np.random.default_rng(seed)
    return np.concatenate([(random.random(EACH) < rate).astype(float) for rate in rates])


def seen(row: np.ndarray, items: int) -> np.ndarray:
    """The first items of each task."""
    parts = row.reshape(3, EACH).copy()
    parts[:, items:] = np.nan
    return parts.ravel()


def test_each_round_doubles_the_items_and_the_last_asks_all() -> None:
    assert round_ends(200, 4) == (25, 50, 100, 200)
    assert round_ends(3, 4) == (1, 1, 2, 3)
    assert round_ends(7, 1) == (7,)
    with pytest.raises(EvaluationError, match="got 0 rounds of 7 items"):
        round_ends(7, 0)


@pytest.mark.parametrize(
    ("items", "most", "rounds"),
    [
        ([200, 200, 200], 5, 5),
        ([200], 3, 3),
        ([64, 64], 5, 3),
        ([40], 5, 2),
        ([12], 5, 1),
        ([23], 5, 2),
        ([200, 8], 5, 4),
    ],
)
def test_the_first_round_has_twelve_items_of_a_task_on_average(items: list[int], most: int, rounds: int) -> None:
    assert count_rounds(items, most) == rounds


def test_a_panels_skills_are_those_of_the_scores() -> None:
    row = answers(0.8, 0.3, 0.6)
    tasks = [SkillTask(name, "acc", weight=weight) for name, weight in (("a", 1.0), ("b", 1.0), ("c", 3.0))]
    skills = [Skill("first", tuple(tasks[:1])), Skill("second", tuple(tasks[1:]))]
    names = [("first", tasks[0].key)] * EACH + [("second", tasks[1].key)] * EACH + [("second", tasks[2].key)] * EACH
    scores = [
        ItemScore(skill, task, str(index), value, None)
        for index, ((skill, task), value) in enumerate(zip(names, row, strict=True))
    ]
    expected = skill_scores(skills, {task.key: True for task in tasks}, scores)
    assert PANEL.skills(row[None])[0] == pytest.approx([expected["first"], expected["second"]])


def test_the_chance_to_be_dominated_is_that_of_the_normal_distributions() -> None:
    guess = ScoreEstimate((0.5, 0.5), (0.1, 0.2))
    phi = NormalDist().cdf
    assert chance_dominated([guess], np.array([[0.6, 0.6]]))[0] == pytest.approx(phi(1) * phi(0.5), abs=0.06)
    # Either of two points will do: P(A) + P(B) - P(A and B).
    either = phi(1) * phi(0) + phi(0) * phi(1) - phi(0) * phi(0)
    two = np.array([[0.6, 0.5], [0.5, 0.7]])
    assert chance_dominated([guess], two)[0] == pytest.approx(either, abs=0.06)
    assert list(chance_dominated([ScoreEstimate((0.5, 0.5), (0.0, 0.0))], np.array([[0.5, 0.4]]))) == [0.0]


def test_a_candidate_is_beaten_only_where_one_model_is_better_in_every_skill() -> None:
    weak = seen(answers(0.2, 0.2, 0.2), 20)
    strong, specialist = answers(0.9, 0.9, 0.9, seed=1), answers(0.9, 0.1, 0.1, seed=2)
    assert beaten_by_any(weak, np.array([strong]), PANEL) > 0.99
    assert beaten_by_any(weak, np.array([specialist]), PANEL) < 0.8
    assert beaten_by_any(weak, np.array([specialist, strong]), PANEL) > 0.99
    assert beaten_by_any(seen(strong, 20), np.array([strong]), PANEL) < 0.5  # none beats its equal


def test_the_paired_test_of_one_skill_is_as_careful_as_mcnemars() -> None:
    """Wins of the model among the first 20 items, against the exact p of that many wins and no loss."""
    one = Panel((0,) * EACH, np.array([[1.0]]), (0,))
    for wins in (3, 5, 8):
        row = np.where(np.arange(EACH) < 20, 1.0, np.nan)
        row[:wins] = 0.0
        confidence = beaten_by_any(row, np.ones((1, EACH)), one)
        assert confidence == pytest.approx(1 - 2.0**-wins, abs=0.08)


def test_a_second_metric_of_the_same_answers_adds_no_confidence() -> None:
    """Two tasks of one source whose answers agree decide as one of them does; as two sources they would say more."""
    once = Panel((0,) * EACH, np.array([[1.0]]), (0,))
    twice = Panel((0,) * EACH + (1,) * EACH, np.array([[0.4], [0.6]]), (0, 0))
    full = np.array([answers(0.8, seed=seed) for seed in range(6)])
    row = np.where(np.arange(EACH) < 20, answers(0.6, seed=9), np.nan)
    double, rows = np.hstack([full, full]), np.concatenate([row, row])
    assert beaten_by_any(rows, double, twice) == pytest.approx(beaten_by_any(row, full, once))
    assert beaten_by_any(rows, double, replace(twice, sources=(0, 1))) > beaten_by_any(row, full, once)
    spread = np.array([[0.1, 0.1]])
    assert twice.deviations(spread)[0] == pytest.approx([0.1])
    assert replace(twice, sources=(0, 1)).deviations(spread)[0] == pytest.approx([0.1 * math.hypot(0.4, 0.6)])


def test_few_are_dropped_wrongly_and_the_hopeless_early() -> None:
    """A thousand races of equals: at 95 % one as good as the model in a skill leaves in 5 % of them."""
    random = np.random.default_rng(0)
    model = answers(0.6, 0.6, 0.6, seed=5)
    wrong = 0
    for _ in range(1000):
        first = random.permutation(model[:EACH])
        rest = np.zeros(2 * EACH)
        wrong += beaten_by_any(seen(np.concatenate([first, rest]), 10), model[None], PANEL) >= 0.95
    assert wrong <= 60
    assert beaten_by_any(seen(np.zeros(3 * EACH), 10), np.ones((1, 3 * EACH)), PANEL) >= 0.95


def test_graded_scores_are_told_apart_however_much_items_differ() -> None:
    """Similarities: items differ far more than models do, which the paired test does not see."""
    random = np.random.default_rng(0)
    easiness, noise = 0.06 * random.standard_normal(3 * EACH), 0.005 * random.standard_normal((9, 3 * EACH))
    for items, hopeless in ((10, True), (20, True)):
        weak, full = 0.24 + noise[0], 0.25 + noise[1:]
        told = [beaten_by_any(seen(weak + shift, items), full + shift, PANEL) for shift in (0.0, easiness)]
        assert told[1] == pytest.approx(told[0]) and (told[1] >= 0.9) == hopeless
    wrong = 0
    for _ in range(500):
        equal, model = 0.25 + 0.005 * random.standard_normal((2, 3 * EACH))
        equal[EACH:] -= 0.05  # as good in the first skill alone
        wrong += beaten_by_any(seen(equal + easiness, 10), (model + easiness)[None], PANEL) >= 0.95
    assert wrong <= 30


def decided(row: np.ndarray, full: np.ndarray) -> Decision:
    model = fit_item_model(full, PANEL.tasks, seed=0)
    return decide_candidate(row, full, PANEL, model, confidence=0.95)


def test_the_good_are_promoted_the_beaten_dropped_and_the_rest_wait() -> None:
    full = np.array([answers(0.3 + 0.05 * index, 0.5, 0.5, seed=index) for index in range(8)])
    good, middling, bad = (decided(seen(answers(rate, rate, rate, seed=30), 20), full) for rate in (1.0, 0.45, 0.0))
    statuses = [one.status for one in (bad, middling, good)]
    assert statuses == [RaceStatus.DROPPED, RaceStatus.WAITING, RaceStatus.PROMOTED]
    assert good.dominated < 0.5 <= middling.dominated <= bad.dominated
    assert all(0 <= mean <= 1 and deviation > 0 for mean, deviation in zip(*vars(good.estimate).values(), strict=True))


def test_errors_of_skills_are_those_of_as_many_items_as_there_are_whatever_was_answered() -> None:
    rows = np.random.default_rng(0).integers(0, 2, (2, 3 * EACH)).astype(float)
    rows[1, 2::3] = np.nan
    rates = np.array(
        [[np.nanmean(rows[model, task * EACH : (task + 1) * EACH]) for task in range(3)] for model in (0, 1)]
    )
    of_tasks = rates * (1 - rates) / EACH
    expected = np.sqrt(np.column_stack([of_tasks[:, 0], 0.25**2 * of_tasks[:, 1] + 0.75**2 * of_tasks[:, 2]]))
    assert PANEL.errors(rows) == pytest.approx(expected)
