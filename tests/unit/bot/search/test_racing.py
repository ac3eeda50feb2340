"""A search with a race over synthetic models: what is asked, what is remembered, and who may stand on the front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from bot.context import now
from bot.ledger.ledger import Ledger
from bot.scoring.cached import CachedEvaluator
from bot.scoring.process_pool import Failure
from bot.scoring.worker import EvalItem, EvalSetFacts, ItemResults, RoundFacts
from bot.search.racing import opponents, panel_of
from bot.search.run import search, summarise
from bot.search.spaces import Spaces
from bot.watchlist.watchlist import Watchlist
from evaluation.racing.decisions import round_ends
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split
from fixtures.cycles import Listener
from merging.evolution.evolve import SearchResult
from merging.recipes.weight_merge import ModelId, Partition, WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace

ITEMS, ROUNDS, BUDGET = 64, 4, 60
SPACE = WeightMergeSpace.build(
    method="task_arithmetic",
    sources=[ModelId("org/math", "0" * 40), ModelId("org/language", "0" * 40)],
    base=ModelId("org/base", "0" * 40),
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


def watchlist(racing: bool = True, budget: int = BUDGET) -> Watchlist:
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
            },
            "publish": {"mode": "off"},
        }
    )


class Synthetic:
    """Models whose weights' distances to two points decide which of the items, from easy to hard, they solve."""

    def __init__(self, faulty: bool = False) -> None:
        self.asked = 0
        self._faulty = faulty

    def facts(self, split: Split) -> EvalSetFacts:
        assert split is Split.SEARCH
        items = tuple(
            EvalItem(name, f"{name}:acc", name, str(item)) for name in ("one", "two") for item in range(ITEMS)
        )
        ends = (0, *round_ends(ITEMS, ROUNDS))
        rounds = tuple(
            RoundFacts(f"round {part}", tuple(one for one in items if ends[part] <= int(one.item) < ends[part + 1]))
            for part in range(ROUNDS)
        )
        return EvalSetFacts("whole", items, (("one:acc", True), ("two:acc", True)), (), "", rounds)

    def score(
        self, recipes: Sequence[WeightMerge], split: Split, part: int | None = None
    ) -> Iterator[tuple[int, ItemResults | Failure]]:
        eval_set = self.facts(split)
        items = eval_set.items if part is None else eval_set.rounds[part].items
        for index, recipe in enumerate(recipes):
            self.asked += len(items)
            if self._faulty and part == 1 and int(recipe.digest, 16) % 3 == 0:
                yield index, Failure("the merge is not finite", seconds=1.0)
            else:
                yield index, ItemResults(tuple((solved(recipe, item), None) for item in items), len(items) / 100)

    def score_folder(self, folder: Path, split: Split) -> ItemResults | Failure:
        raise NotImplementedError


def solved(recipe: WeightMerge, item: EvalItem) -> float:
    weights = np.zeros((2, 2))
    for source, row in zip(recipe.sources, dict(recipe.parameters)["weight"], strict=True):
        if source in SPACE.sources:
            weights[SPACE.sources.index(source)] = np.resize(row, 2)
    target = {"one": 0.9, "two": 0.5}[item.skill]
    difficulty = np.random.default_rng([len(item.skill), int(item.item)]).random()
    return float(np.exp(-((weights - target) ** 2).sum()) > difficulty)


def searched(ledger: Ledger, evaluator: Synthetic, wanted: Watchlist, space: WeightMergeSpace = SPACE) -> SearchResult:
    cycle = ledger.begin("tiny", wanted.digest, now()).id
    evaluator = CachedEvaluator(ledger, evaluator, 1)
    baselines = evaluator.evaluate(space.singles(), Split.SEARCH)
    return search(wanted, Spaces(space), evaluator, baselines, ledger, cycle, Listener())


def test_a_race_tries_more_candidates_for_the_same_items_and_finds_no_worse_front(tmp_path: Path) -> None:
    evaluator = Synthetic()
    race = searched(Ledger(tmp_path / "race.sqlite"), evaluator, watchlist())
    full = searched(Ledger(tmp_path / "full.sqlite"), Synthetic(), watchlist(racing=False))
    assert len(full.scored) == BUDGET and len(race.scored) > 1.5 * BUDGET
    assert race.generations[-1].hypervolume >= 0.99 * full.generations[-1].hypervolume
    summary = summarise(race, 2 * ITEMS, 2)
    # The rivals' items are asked for once, and count for those candidates that are rivals too.
    assert abs(summary.item_scores - evaluator.asked) <= len(SPACE.singles()) * 2 * ITEMS
    assert summary.item_scores <= 1.05 * BUDGET * 2 * ITEMS
    assert summary.candidates > summary.fully_scored == len(summary.points) >= len(summary.front)


@pytest.mark.parametrize(("space", "budget"), [(SPACE, 20), (SMALL, 20), (SMALL, 30), (SMALL, 60)])
def test_the_budget_of_item_scores_is_spent_and_hardly_more(
    tmp_path: Path, space: WeightMergeSpace, budget: int
) -> None:
    """Also where its forecasts are poor, for there are few generations, and where all recipes have been tried."""
    ledger, again = Ledger(tmp_path / "race.sqlite"), Synthetic()
    race = searched(ledger, Synthetic(), watchlist(budget=budget), space)
    assert searched(ledger, again, watchlist(budget=budget), space) == race and again.asked == 0
    spent = summarise(race, 2 * ITEMS, 2).item_scores / (2 * ITEMS)
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


@pytest.mark.parametrize("faulty", [False, True])
def test_a_race_done_again_from_the_ledger_takes_the_same_way_and_asks_nobody(tmp_path: Path, faulty: bool) -> None:
    ledger, again = Ledger(tmp_path / "ledger.sqlite"), Synthetic(faulty)
    first = searched(ledger, Synthetic(faulty), watchlist())
    assert searched(ledger, again, watchlist()) == first
    assert again.asked == 0
    failed = [one for one in first.scored if one.outcome.failure]
    assert bool(failed) == faulty and all(one.outcome.share < 1 and one.outcome.seconds for one in failed)


def test_candidates_are_compared_with_the_rivals_and_the_front_alone() -> None:
    points = {"rival": (0.1, 0.1), "lucky": (0.3, 0.3), "best": (0.6, 0.2), "other": (0.2, 0.6), "middle": (0.4, 0.4)}
    assert opponents(points, {"rival"}) == ("rival", "best", "other", "middle")
    assert opponents(points, {"rival", "lucky"}) == tuple(points)


def test_two_metrics_of_one_task_are_one_source_of_items() -> None:
    strict, lenient = SkillTask("sums", "strict"), SkillTask("sums", "lenient", weight=3.0)
    other = SkillTask("b", "acc")
    skills = (Skill("one", (strict, lenient)), Skill("two", (other, strict)))
    uses = [(skill.name, task.key) for skill in skills for task in skill.tasks]
    eval_set = EvalSetFacts(
        "whole", tuple(EvalItem(*use, "d", str(item)) for use in uses for item in range(2)), (), (), ""
    )
    panel = panel_of(eval_set, skills)
    assert panel.tasks == (0, 0, 1, 1, 2, 2, 3, 3)
    assert panel.weights.tolist() == [[0.25, 0], [0.75, 0], [0, 0.5], [0, 0.5]]
    assert panel.sources == (1, 1, 0, 1)
