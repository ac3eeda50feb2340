"""Searches of one watchlist after each other, over models that are not there: what the later ones know before."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.ledger.ledger import Ledger, State
from bot.scoring.cached import CachedEvaluator
from bot.search.baselines import Baseline
from bot.search.recall import Recall
from bot.search.results import BaselineKind, Recalled
from bot.search.run import search_recipes
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.search.warm_start import TodaysModels
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import ItemResults, RoundFacts
from evaluation.splits import Split
from fixtures.cycles import Listener
from fixtures.hasty import always_hasty
from fixtures.synthetic import BASE, ITEMS, LANGUAGE, MATH, ROUNDS, Synthetic
from merging.evolution.outcomes import SearchResult
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("always_hasty")]
__all__ = ["always_hasty"]

NEWER, OTHER = replace(LANGUAGE, revision="1" * 40), ModelId("org/other", "0" * 40)
COARSE, FINE = (Partition.even(4, bands, modules_apart=False, ends_apart=False) for bands in (1, 2))
BUDGET, FIRST = 16, 4  # the second is half of a population
NAMES = tuple(f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(4))


def watchlist(**search: Any) -> Watchlist:
    tasks = tuple({"name": name, "tasks": ({"task": name, "metric": "acc"},)} for name in ("one", "two"))
    given = {"population": 8, "budget": {"candidates": BUDGET}, "seed": 3, "racing": {"rounds": ROUNDS}} | search
    return Watchlist.model_validate(
        {"name": "tiny", "watch": {"tags": ("fish",)}, "skills": tasks, "search": given, "publish": {"mode": "off"}}
    )


@dataclass(frozen=True)
class Searched:
    """A cycle's search: what it recalled, the cycles that it repeats, what it found, and the item scores asked for."""

    recalled: Recalled
    repeats: tuple[str, ...]
    found: SearchResult
    asked: int


class KilledError(Exception):
    """The process was killed."""


class Mortal(Synthetic):
    """Dies when it is asked for the scores of so many rounds or models."""

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__()
        self._left = dies_at

    def _answer(self, recipe: WeightMerge, asked: RoundFacts) -> ItemResults:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KilledError
        return super()._answer(recipe, asked)


def run(
    ledger: Ledger,
    wanted: Watchlist | None = None,
    sources: Sequence[ModelId] = (MATH, LANGUAGE),
    groups: Partition = FINE,
    dies_at: int | None = None,
) -> Searched:
    """A cycle's search, begun or resumed; it is finished unless it dies."""
    wanted, evaluator = wanted or watchlist(), Mortal(dies_at)
    cycle = ledger.begin("tiny", wanted.digest, datetime.now(UTC))
    cached, strategy = CachedEvaluator(ledger, evaluator), WeightMergeSearch(space_of(sources, groups))
    recipes = [*strategy.weight_merges.singles(), *(recipe for _, recipe in strategy.plain_recipes())]
    baselines = [Baseline(str(number), BaselineKind.SOURCE, recipe) for number, recipe in enumerate(recipes)]
    earlier = tuple(one for one in ledger.cycles("tiny") if one.number < cycle.number)
    recall = Recall(ledger, earlier, wanted, strategy, TodaysModels(tuple(sources), BASE, groups, NAMES))
    recalled = recall.recalled(cycle.id, cached, baselines)
    warm = recall.warm_start(recalled, cached)
    scored = cached.evaluate(recipes, Split.SEARCH)
    found = search_recipes(wanted, strategy, cached, scored, ledger, cycle.id, Listener(), warm)
    ledger.finish(cycle.id, State.NOTHING, "", datetime.now(UTC))
    return Searched(recalled, warm.repeats, found, evaluator.asked)


def space_of(sources: Sequence[ModelId], groups: Partition = FINE) -> WeightMergeSpace:
    return WeightMergeSpace.build(
        method="task_arithmetic", sources=sources, base=BASE, groups=groups, dtype="float32", seed=0
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Searched]:
    """A ledger after one cycle, and that cycle."""
    path = tmp_path_factory.mktemp("first") / "ledger.sqlite"
    ledger = Ledger(path)
    done = run(ledger)
    ledger.close()
    return path, done


@pytest.fixture
def ledger(first: tuple[Path, Searched], tmp_path: Path) -> Ledger:
    return Ledger(Path(shutil.copy(first[0], tmp_path / "ledger.sqlite")))


def volume(searched: Searched, generation: int) -> float:
    return searched.found.generations[generation].hypervolume


def test_a_first_cycle_recalls_nothing(first: tuple[Path, Searched]) -> None:
    summary = first[1].recalled.summary
    assert (summary.recipes, summary.carried, summary.item_scores, summary.models) == (0, 0, 0, 0)
    assert summary.describe() == []


def test_a_newer_commit_takes_the_place_of_an_older_one(ledger: Ledger, tmp_path: Path) -> None:
    warm = run(ledger, sources=(MATH, NEWER))
    cold = run(Ledger(tmp_path / "cold.sqlite"), sources=(MATH, NEWER))
    summary = warm.recalled.summary
    assert summary.cycles == ("tiny-1",) and summary.carried == summary.renewed == FIRST and summary.reduced == 0
    begun = [one.recipe for one in warm.found.scored if one.generation == 0]
    assert sum(NEWER in recipe.origins for recipe in begun) >= FIRST and LANGUAGE not in {
        origin for one in warm.found.scored for origin in one.recipe.origins
    }
    assert volume(warm, 0) > volume(cold, 0) and volume(warm, -1) >= volume(cold, -1)
    # Math, the base and their scores are what they were.
    assert summary.known_baselines >= 2 and summary.item_scores % (2 * ITEMS) == 0
    assert any("newer commit" in line for line in summary.describe())


def test_recipes_that_stay_the_same_cost_nothing_though_a_source_was_added(ledger: Ledger) -> None:
    budget = BUDGET + 8
    warm = run(ledger, watchlist(budget={"candidates": budget}), sources=(MATH, LANGUAGE, OTHER))
    known = set(warm.recalled.known)
    assert len(known) > FIRST and warm.recalled.summary.known == len(known)
    free = [one.outcome for one in warm.found.scored if one.recipe.digest in known]
    assert len(free) == len(known) and all(one.share == one.seconds == one.answered == 0 for one in free)
    assert sum(one.outcome.share for one in warm.found.scored) == pytest.approx(budget, abs=1)
    assert known & {one.recipe.digest for one in warm.found.front}
    fully = sum(one.outcome.is_measured for one in warm.found.scored) - len(known)
    assert warm.asked <= (budget + 1) * 2 * ITEMS and fully > 0


def test_a_source_that_is_gone_drops_out(ledger: Ledger) -> None:
    warm = run(ledger, sources=(MATH, OTHER))
    summary = warm.recalled.summary
    assert summary.carried == summary.reduced > 0 and summary.renewed == 0
    assert all(LANGUAGE not in one.recipe.origins for one in warm.found.scored)
    assert any("without a model that is gone" in line for line in summary.describe())


def test_other_groups_take_the_values_over_where_they_can(ledger: Ledger) -> None:
    finer = run(ledger, groups=Partition.even(4, 4, modules_apart=False, ends_apart=False))
    assert finer.recalled.summary.carried == FIRST
    coarser = run(ledger, groups=COARSE)
    reasons = dict(coarser.recalled.summary.left_out)
    assert any("has tensors with different values of this merge" in reason for reason in reasons)


def test_the_same_search_before_another_gate_is_repeated_for_nothing(
    first: tuple[Path, Searched], ledger: Ledger
) -> None:
    stricter = watchlist().model_copy(update={"gate": watchlist().gate.model_copy(update={"confidence": 0.99})})
    again = run(ledger, stricter)
    assert again.asked == 0 and again.found == first[1].found
    assert again.recalled.summary.repeats == "tiny-1" and again.repeats == ("tiny-1",)
    assert again.recalled.summary.describe() == ["the search of tiny-1 again, whose scores are known"]
    # So is a search with a larger budget, which then goes on.
    longer = run(ledger, watchlist(budget={"candidates": BUDGET + 8}))
    assert longer.repeats == ("tiny-2", "tiny-1") and 0 < longer.asked < 0.7 * (BUDGET + 8) * 2 * ITEMS
    shared = {one.recipe.digest for one in longer.found.scored} & {one.recipe.digest for one in again.found.scored}
    assert len(shared) > len(again.found.scored) / 2
    # Another seed is another search.
    other = run(ledger, watchlist(seed=4))
    assert other.repeats == () and other.recalled.summary.repeats is None and other.recalled.summary.carried == FIRST


@pytest.mark.parametrize(("racing", "deaths"), [(True, (0, 3, 40)), (False, (2, 12))])
def test_a_second_cycle_killed_again_and_again_ends_as_if_undisturbed(
    ledger: Ledger, tmp_path: Path, deaths: tuple[int, ...], racing: bool
) -> None:
    wanted = watchlist(**({} if racing else {"racing": None}))
    sources = (MATH, NEWER, OTHER)
    untouched = Ledger(Path(shutil.copy(ledger.path, tmp_path / "untouched.sqlite")))
    expected = run(untouched, wanted, sources)
    for dies_at in deaths:
        with pytest.raises(KilledError):
            run(ledger, wanted, sources, dies_at=dies_at)
    final = run(ledger, wanted, sources)
    assert final.found == expected.found and final.recalled == expected.recalled
    assert 0 < final.asked < expected.asked
    assert ledger.cycles("tiny")[0].id == "tiny-2"


def test_what_a_cycle_recalls_does_not_change_though_the_ledger_grows_before_it_is_resumed(
    ledger: Ledger, tmp_path: Path
) -> None:
    sources = (MATH, LANGUAGE, OTHER)
    untouched = Ledger(Path(shutil.copy(ledger.path, tmp_path / "untouched.sqlite")))
    expected = run(untouched, sources=sources)
    with pytest.raises(KilledError):
        run(ledger, sources=sources, dies_at=20)
    # Meanwhile another watchlist has scored recipes of this search, and an earlier cycle has another front.
    recipes = [one.recipe for one in (*expected.found.front, *expected.found.scored[5:25])]
    CachedEvaluator(ledger, Synthetic()).evaluate(recipes, Split.SEARCH)
    ledger.record_front("tiny-1", 99, [(recipe.digest, (0.5, 0.5)) for recipe in recipes])
    assert run(ledger, sources=sources).found.front == expected.found.front


def test_a_recipe_that_cannot_be_read_is_left_out_with_a_line(ledger: Ledger) -> None:
    (digest, _), *_ = ledger.front("tiny-1")
    with sqlite3.connect(ledger.path) as database:
        text = json.dumps({"kind": "weight_merge", "method": "gone"})
        database.execute("UPDATE recipes SET recipe = ? WHERE digest = ?", (text, digest))
    warm = run(ledger, sources=(MATH, NEWER))
    assert ("this version of shoal does not read it", 1) in warm.recalled.summary.left_out
    assert any("this version of shoal" in line for line in warm.recalled.summary.describe())


def test_scores_that_an_earlier_model_gets_while_a_cycle_is_interrupted_are_not_learnt_from(
    ledger: Ledger, tmp_path: Path
) -> None:
    sources = (NEWER, OTHER)  # all earlier merges of both specialists are other models
    with sqlite3.connect(ledger.path) as database:
        later = database.execute("SELECT * FROM item_scores WHERE task = 'two'").fetchall()
        database.execute("DELETE FROM item_scores WHERE task = 'two'")
        database.execute("DELETE FROM evaluations")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # for the copy
    untouched = Ledger(Path(shutil.copy(ledger.path, tmp_path / "untouched.sqlite")))
    expected = run(untouched, sources=sources)
    assert {model.tasks for model in expected.recalled.models} == {("one:acc",)}
    with pytest.raises(KilledError):
        run(ledger, sources=sources, dies_at=20)
    with sqlite3.connect(ledger.path) as database:
        places = ", ".join("?" * len(later[0]))
        database.executemany(f"INSERT OR IGNORE INTO item_scores VALUES ({places})", later)
    assert run(ledger, sources=sources).found == expected.found
