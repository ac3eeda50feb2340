"""The landscapes: exact as the engine is, the same every time, and searched within bounds and budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.landscapes.arms import POPULATION, several_weightings
from benchmarks.landscapes.contestants import ARMS, RACED
from benchmarks.landscapes.formula import FormulaLandscape
from benchmarks.landscapes.landscape import ZooLandscape
from benchmarks.landscapes.prefix_tree import PrefixTree, TokenQuestion
from benchmarks.landscapes.trials import Found, checkpoints, hypervolumes, summarise
from benchmarks.landscapes.zoos import Zoo, open_zoo
from bot.scoring.worker import Worker
from evaluation.splits import Split, SplitSizes
from merging.evolution.pareto import hypervolume, nondominated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    """The demo's, with few items."""
    zoo = open_zoo("demo")
    few = zoo.watchlist.items.model_copy(update={"search": 30, "report": 30})
    zoo = replace(zoo, watchlist=zoo.watchlist.model_copy(update={"items": few}))
    assert zoo.spec.sizes == SplitSizes(30, 1, 30)
    return zoo


def test_the_fast_scorer_gives_the_engine_s_item_results_and_keeps_them(zoo: Zoo, tmp_path: Path) -> None:
    landscape, worker = ZooLandscape(zoo, tmp_path / "scores.sqlite"), Worker(zoo.spec)
    genomes = landscape.space.random_genomes(np.random.default_rng(1))
    recipes = [*landscape.space.singles(), *(landscape.space.decode(next(genomes)) for _ in range(5))]
    rates = set()
    for recipe in recipes:
        for split in (Split.SEARCH, Split.REPORT):
            exact = worker.evaluate(recipe, split).scores
            assert landscape.answers(recipe, split).tolist() == [score.value == 1.0 for score in exact]
            rates.add(landscape.score(recipe, split))
    assert len(rates) > 8  # not all right, nor all wrong
    again = ZooLandscape(zoo, tmp_path / "scores.sqlite")
    again._scorer._live = None  # whatever is not kept would fail
    assert [again.score(recipe, Split.REPORT) for recipe in recipes] == [
        landscape.score(recipe, Split.REPORT) for recipe in recipes
    ]


@pytest.mark.parametrize("arm", RACED)
def test_a_race_spends_less_than_a_full_scoring_on_most_candidates(arm: str, zoo: Zoo, tmp_path: Path) -> None:
    landscape = ZooLandscape(zoo, tmp_path / "scores.sqlite")
    steps = RACED[arm](landscape, 1, 30)
    front = steps[-1].recipes
    points = [landscape.score(recipe, Split.SEARCH) for recipe in front]
    assert nondominated(points) == tuple(range(len(front)))
    spent = sum(step.item_scores for step in steps) / landscape.items
    assert 20 < spent <= 30
    new = POPULATION - len(landscape.space.seeds())  # the others are baselines, whose scores are known
    assert steps[0].item_scores < 0.8 * new * landscape.items


def test_a_tree_of_prefixes_has_each_once_and_judges_answers_with_and_without_a_stop() -> None:
    questions = [
        TokenQuestion((1, 2), (3, 4)),
        TokenQuestion((1, 2), (3, 5)),
        TokenQuestion((1, 2, 3), (4,), stops=(8, 9)),
        TokenQuestion((6,), (7,)),
    ]
    tree = PrefixTree.plant(questions)
    prefixes = {one.read[: end + 1] for one in questions for end in range(len(one.read))}
    assert len(tree.tokens) == len(prefixes) == 5
    guesses = {(1, 2): 3, (1, 2, 3): 4, (1, 2, 3, 4): 9, (6,): 0}
    order: dict[tuple[int, ...], int] = {}
    for one in questions:
        for end in range(len(one.read)):
            order.setdefault(one.read[: end + 1], len(order))
    asked = [prefix for prefix in order if prefix in guesses]
    assert [order[prefix] for prefix in asked] == tree.asked.tolist()
    assert tree.judge(np.array([guesses[prefix] for prefix in asked])).tolist() == [True, False, True, False]
    guesses[1, 2, 3, 4] = 7  # goes on behind the answer
    assert tree.judge(np.array([guesses[prefix] for prefix in asked])).tolist() == [True, False, False, False]


@pytest.mark.parametrize("arm", sorted(ARMS.keys() - RACED.keys()))
def test_an_arm_is_the_same_every_time_keeps_its_budget_and_tries_nothing_twice(arm: str) -> None:
    landscape = FormulaLandscape()
    steps = [ARMS[arm](landscape, seed, 25) for seed in (1, 1, 2)]
    one, again, other = ([recipe for step in some for recipe in step.recipes] for some in steps)
    assert one == again != other
    assert {step.item_scores for step in steps[0]} == {landscape.items}
    assert len(one) == len({recipe.digest for recipe in one}) == 25
    seeds = [landscape.space.decode(genome) for genome in landscape.space.seeds()]
    assert set(seeds) <= set(one)
    for recipe in one:  # decoding refuses genomes off the grid
        genome = landscape.space.encode(recipe)
        assert genome is not None
        assert landscape.space.decode(genome) == recipe


def test_weightings_sum_to_one_and_put_each_skill_first_once() -> None:
    for skills in (1, 2, 4):
        weightings = np.array(several_weightings(skills))
        assert weightings.sum(axis=1) == pytest.approx(1.0)
        assert len(weightings) == (1 if skills == 1 else 1 + skills)
        assert set(weightings[1:].argmax(axis=1)) == (set(range(skills)) if skills > 1 else set())


def test_the_curve_is_the_front_s_hypervolume_after_each_point() -> None:
    points = [tuple(map(float, row)) for row in np.random.default_rng(0).random((40, 3)).round(1)]
    steps = [points[place : place + 2] for place in range(0, 40, 2)]
    expected = [hypervolume(points[: count + 2], (0.0, 0.0, 0.0)) for count in range(0, 40, 2)]
    assert hypervolumes(steps) == pytest.approx(expected)
    assert checkpoints(200) == (60, 120, 200)
    assert checkpoints(60) == (60,)
    assert checkpoints(100) == (60, 100)


def test_figures_are_leads_over_plain_on_the_same_seeds() -> None:
    plain = [
        Found((1.0, 2.0, 3.0), (0.1, 0.5, 0.5), (0.4,), (2,), 0.3),
        Found((1.0, 2.0, 3.0), (0.2, 0.3, 0.7), (0.6,), (2,), 0.3),
    ]
    other = [Found((0.6, 3.1), (0.6, 0.9), (0.5,), (2,), 0.6), Found((1.5, 3.0), (0.2, 0.4), (0.5,), (2,), 0.6)]
    rows = {row["name"]: row for row in summarise({"plain": plain, "other": other}, "plain", 3)}
    assert rows["plain"]["to_goal"] == [None, 3.0]  # the goal is 99 % of 0.6
    assert rows["other"]["to_goal"] == [0.6, None]
    assert rows["other"]["search_3"]["mean"] == pytest.approx(50.0)
    assert rows["other"]["search_3_lead"]["mean"] == pytest.approx(-10.0)
    assert rows["other"]["held_out_3_lead"] == {"mean": 0.0, "half_width": pytest.approx(127.062)}
    assert "search_3_lead" not in rows["plain"]
    assert rows["other"]["held_out_3_lead_over_end"]["mean"] == pytest.approx(0.0)
