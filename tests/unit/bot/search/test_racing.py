"""A search with a race over synthetic models: what is asked and remembered, and which candidates the front may hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bot.cycle.context import CycleContext
from bot.cycle.steps import search_merges
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, State
from bot.release.results import SplitResults
from bot.scoring.cached import CachedEvaluator
from bot.search.racing import MAX_WAITING, Race, make_panel, select_opponents
from bot.search.results import FrontChoice
from bot.search.run import search_recipes, summarise_search
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.search.warm_start import COLD, WarmStart
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import EvalItem, EvalSetFacts
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split
from fixtures.cycles import Listener
from fixtures.hasty import ask_less
from fixtures.synthetic import BASE, ITEMS, LANGUAGE, MATH, ROUNDS, Synthetic, solved
from merging.evolution.outcomes import Outcome, SearchResult
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace

pytestmark = pytest.mark.slow

BUDGET = 60
SPACE = WeightMergeSpace.build(
    method="task_arithmetic",
    sources=[MATH, LANGUAGE],
    base=BASE,
    groups=Partition.even(4, 2, modules_apart=False, ends_apart=False),
    dtype="float32",
    seed=0,
)


SMALL = WeightMergeSpace.build(
    method="task_arithmetic",
    sources=SPACE.sources,
    base=SPACE.base,
    groups=Partition.even(4, 1, modules_apart=False, ends_apart=False),
    dtype="float32",
    seed=0,
    step=0.2,
)


def watchlist(racing: bool = True, budget: int = BUDGET, surrogate: bool = False) -> Watchlist:
    return Watchlist.model_validate(
        {
            "name": "tiny",
            "watch": {"tags": ("fish",)},
            "skills": tuple({"name": name, "tasks": ({"task": name, "metric": "acc"},)} for name in ("one", "two")),
            "search": {
                "population": 12,
                "budget": {"candidates": budget},
                "seed": 3,
                "racing": {"rounds": ROUNDS} if racing else None,
                "surrogate": surrogate,
            },
            "publish": {"mode": "off"},
        }
    )


def searched(ledger: Ledger, evaluator: Synthetic, wanted: Watchlist, space: WeightMergeSpace = SPACE) -> SearchResult:
    cycle = ledger.begin("tiny", wanted.digest, datetime.now(UTC)).id
    evaluator = CachedEvaluator(ledger, evaluator)
    baselines = evaluator.evaluate(space.singles(), Split.SEARCH)
    return search_recipes(wanted, WeightMergeSearch(space), evaluator, baselines, ledger, cycle, Listener())


def test_a_race_tries_more_candidates_for_the_same_items_and_finds_no_worse_front(tmp_path: Path) -> None:
    evaluator = Synthetic()
    race = searched(Ledger(tmp_path / "race.sqlite"), evaluator, watchlist())
    full = searched(Ledger(tmp_path / "full.sqlite"), Synthetic(), watchlist(racing=False))
    assert len(full.scored) == BUDGET and len(race.scored) > 1.5 * BUDGET
    assert race.generations[-1].hypervolume >= 0.99 * full.generations[-1].hypervolume
    summary = summarise_search(race, 2 * ITEMS, 2)
    # The baselines' items are scored once, and count for those candidates that are baselines, too.
    assert abs(summary.item_scores - evaluator.asked) <= len(SPACE.singles()) * 2 * ITEMS
    assert summary.item_scores <= 1.05 * BUDGET * 2 * ITEMS
    assert summary.candidates > summary.fully_scored == len(summary.points) >= len(summary.front)


@pytest.mark.parametrize(("space", "budget"), [(SPACE, 20), (SMALL, 20), (SMALL, 30), (SMALL, 60)])
def test_the_budget_of_item_scores_is_spent_and_hardly_more(
    tmp_path: Path, space: WeightMergeSpace, budget: int
) -> None:
    """Also where its forecasts are poor, for there are few generations, and where all recipes have been tried."""
    race = searched(Ledger(tmp_path / "race.sqlite"), Synthetic(), watchlist(budget=budget), space)
    spent = summarise_search(race, 2 * ITEMS, 2).item_scores / (2 * ITEMS)
    assert spent <= budget + 1
    if race.stopped == f"the budget of {budget} candidates is spent":
        assert spent > budget - 1
    else:
        assert len(race.scored) == space.size and not any(one.outcome.waiting for one in race.scored)


def test_the_front_holds_only_candidates_whose_every_item_is_in_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    race = searched(ledger, Synthetic(), watchlist())
    for one in race.front:
        known = ledger.item_values(one.recipe.digest, ["one", "two"])
        assert len(known) == 2 * ITEMS
        means = [np.mean([v.value for (task, _), v in known.items() if task == name]) for name in ("one", "two")]
        assert one.outcome.objectives == pytest.approx(means)


@pytest.mark.parametrize("surrogate", [False, True])
def test_a_race_done_again_from_the_ledger_takes_the_same_way_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surrogate: bool
) -> None:
    """Some of its candidates fail."""
    ask_less(monkeypatch)
    ledger, again = Ledger(tmp_path / "ledger.sqlite"), Synthetic(faulty=True)
    wanted = watchlist(budget=20, surrogate=surrogate)
    first = searched(ledger, Synthetic(faulty=True), wanted)
    failed = [one for one in first.scored if one.outcome.failure]
    assert failed and all(one.outcome.share < 1 and one.outcome.seconds for one in failed)
    # A ledger without the last records, from before a kill; then one without any, from an earlier version.
    last = first.scored[-1].generation
    assert last > 1
    for kept in (1, 0):
        for generation in range(kept, last + 1):
            ledger.forget("tiny-1", f"asked {generation}")
        assert searched(ledger, again, wanted) == first
    # Another processor, whose model would choose otherwise.
    monkeypatch.setattr("merging.evolution.surrogate.foresight.choose_batch", lambda *_: [])
    assert searched(ledger, again, wanted) == first
    assert again.asked == 0


def one_generation(
    tmp_path: Path, best_first: bool = False, order: int = 1, most: int = 150, **limit: int
) -> tuple[Race, list[tuple[WeightMerge, Outcome]]]:
    """A race after a generation of random candidates, with random baselines or with the best of all as baselines.

    order: -1 to ask the last candidate first. most: candidates of the generation.
    """
    tmp_path.mkdir(exist_ok=True)
    evaluator = CachedEvaluator(Ledger(tmp_path / "ledger.sqlite"), Synthetic())
    skills = [Skill(name, (SkillTask(name, "acc"),)) for name in ("one", "two")]
    genomes = SPACE.random_genomes(np.random.default_rng(0))
    recipes = list({recipe.digest: recipe for recipe in (SPACE.decode(next(genomes)) for _ in range(150))}.values())
    if best_first:
        items = evaluator.facts(Split.SEARCH).items
        recipes.sort(key=lambda recipe: -sum(solved(recipe, item) for item in items))
    race = Race(evaluator, skills, evaluator.evaluate(recipes[:30], Split.SEARCH), 0.95, lambda _: None, **limit)
    new = recipes[30 : 30 + most][::order]
    return race, list(zip(new, race.evaluate(new), strict=True))


def test_only_the_most_promising_candidates_wait(tmp_path: Path) -> None:
    every, most, few = (
        {recipe.digest: one.objectives or () for recipe, one in one_generation(tmp_path, **limit)[1] if one.waiting}
        for limit in ({"max_waiting": 300}, {}, {"max_waiting": 5})
    )
    assert len(every) > len(most) == MAX_WAITING > len(few) == 5
    assert every.keys() > most.keys() > few.keys()
    means = [np.mean(list(waiting.values())) for waiting in (every, most, few)]
    assert means == sorted(means)


def test_a_tenth_of_a_generation_goes_on_however_little_it_promises(tmp_path: Path) -> None:
    _, outcomes = one_generation(tmp_path, best_first=True)
    first_round = min(one.share for _, one in outcomes)
    assert sum(one.share > first_round for _, one in outcomes) == round(len(outcomes) / 10) > 0


def test_a_decision_depends_neither_on_other_candidates_nor_on_who_finishes_first(tmp_path: Path) -> None:
    many = dict(one_generation(tmp_path / "many", max_waiting=300)[1])
    again = dict(one_generation(tmp_path / "again", order=-1, max_waiting=300)[1])
    few = dict(one_generation(tmp_path / "few", most=40, max_waiting=300)[1])
    assert len(few) < len(again) == len(many) and again == many
    # Some that wait are scored in full, the best of each generation.
    alike = [outcome == many[recipe] for recipe, outcome in few.items() if not outcome.waiting | many[recipe].waiting]
    assert all(alike) and len(alike) > 2


def test_candidates_that_are_sent_alone_wait_no_longer(tmp_path: Path) -> None:
    race, outcomes = one_generation(tmp_path)
    waiting = [recipe for recipe, one in outcomes if one.waiting]
    again = race.evaluate(waiting)
    assert len(waiting) == MAX_WAITING and not any(one.waiting for one in again)
    assert any(one.is_measured for one in again)


def test_candidates_are_compared_with_baselines_and_the_front_alone() -> None:
    points = {
        "baseline": (0.1, 0.1),
        "lucky": (0.3, 0.3),
        "best": (0.6, 0.2),
        "other": (0.2, 0.6),
        "middle": (0.4, 0.4),
    }
    assert select_opponents(points, {"baseline"}) == ("baseline", "best", "other", "middle")
    assert select_opponents(points, {"baseline", "lucky"}) == tuple(points)


def test_two_metrics_of_one_task_are_one_source_of_items() -> None:
    strict, lenient = SkillTask("sums", "strict"), SkillTask("sums", "lenient", weight=3.0)
    other = SkillTask("b", "acc")
    skills = (Skill("one", (strict, lenient)), Skill("two", (other, strict)))
    uses = [(skill.name, task.key) for skill in skills for task in skill.tasks]
    eval_set = EvalSetFacts(
        "whole", tuple(EvalItem(*use, "d", str(item)) for use in uses for item in range(2)), (), (), ""
    )
    panel = make_panel(eval_set, skills)
    assert panel.tasks == (0, 0, 1, 1, 2, 2, 3, 3)
    assert panel.weights.tolist() == [[0.25, 0], [0.75, 0], [0, 0.5], [0, 0.5]]
    assert panel.sources == (1, 1, 0, 1)


def test_the_front_that_a_model_chooses_is_the_last_generations_front_and_that_of_the_cycle_that_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merging.evolution.shrinkage.FEWEST", 20)
    ledger, wanted = Ledger(tmp_path / "ledger.sqlite"), watchlist(racing=False, budget=24, surrogate=True)
    evaluator, strategy = CachedEvaluator(ledger, Synthetic()), WeightMergeSearch(SPACE)
    facts = evaluator.facts(Split.SEARCH)
    split = SplitResults(facts, wanted.evaluation_skills, {}, (), (), wanted.gate.confidence)

    def front_of(warm: WarmStart) -> tuple[str, ...]:
        home, hub = Home(tmp_path), Hub("http://127.0.0.1:1")
        context = CycleContext(
            wanted, home, hub, ledger, Listener(), ledger.begin("tiny", wanted.digest, datetime.now(UTC))
        )
        found, summary, choice = search_merges(context, evaluator, strategy, split, warm)
        ledger.finish(context.cycle.id, State.NOTHING, "", datetime.now(UTC))
        assert choice is not None and choice == ledger.kept(context.cycle.id, FrontChoice.STAGE, FrontChoice)
        members = tuple(one.recipe.digest for one in found.front)
        assert members == choice.members == summary.front
        assert {digest for digest, _ in ledger.front(context.cycle.id)} == {*members}
        assert ledger.newest_generation(context.cycle.id) == len(found.generations) - 1 == 1
        return members

    members = front_of(COLD)
    # As if another processor's model had chosen one member only.
    choice = ledger.kept("tiny-1", FrontChoice.STAGE, FrontChoice)
    assert choice is not None and len(members) > 1
    ledger.keep("tiny-1", FrontChoice.STAGE, replace(choice, members=members[:1]), FrontChoice)
    assert front_of(WarmStart(repeats=("tiny-1",))) == members[:1]
    assert front_of(COLD) == members
