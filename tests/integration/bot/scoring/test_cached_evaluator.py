"""The cache in front of an evaluator, and baselines: what is scored again, what is not, and what stops a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bot.errors import ShoalError
from bot.ledger.ledger import Ledger
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation, Failure, NextRound
from bot.search.baselines import Baseline, evaluate_baselines
from bot.search.results import BaselineKind
from evaluation.answers.alike import make_sketch
from evaluation.answers.degenerate import EQUAL, FINE
from evaluation.eval_set import AS_TASKS_SAY, EvalItem, EvalSetFacts, ItemResults, OwnDrawing, RoundFacts, Sample
from evaluation.splits import Split
from fixtures.rounds import ask_in_rounds
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge

WHOLE = Partition.even(2, 1, modules_apart=False, ends_apart=False)


def single(name: str) -> WeightMerge:
    return WeightMerge.single(ModelId(name, "0" * 40), WHOLE, "float32")


class Faulty:
    """Scores the items of a set 1.0 and 0.0, unless a fault is set for the recipe's source; keeps what it is asked."""

    def __init__(self) -> None:
        self.faults: dict[str, Failure] = {}
        self.asked: list[str] = []
        self.other_digest: str | None = None
        self.sketches: dict[str, str] = {}

    @property
    def width(self) -> int:
        return 2

    def facts(self, split: Split) -> EvalSetFacts:
        items = tuple(EvalItem("math", "m:acc", "task-digest", f"{split}-{index}") for index in range(2))
        rounds = tuple(RoundFacts(f"round {part} of {split}", (item,)) for part, item in enumerate(items))
        return EvalSetFacts(f"set of {split}", items, (("m:acc", True),), (), "a question", rounds)

    def evaluate(self, recipes: Sequence[WeightMerge], split: Split) -> Iterator[tuple[int, ItemResults | Failure]]:
        facts = self.facts(split)
        for index, recipe in reversed(list(enumerate(recipes))):  # in the order in which they are done, not asked
            yield index, self._answer(recipe, RoundFacts(facts.digest, facts.items))

    def evaluate_rounds(
        self, recipes: Sequence[WeightMerge], split: Split, first: Sequence[int], next_round: NextRound
    ) -> None:
        rounds = self.facts(split).rounds
        ask_in_rounds(first, lambda index, number: self._answer(recipes[index], rounds[number]), next_round)

    def _answer(self, recipe: WeightMerge, asked: RoundFacts) -> ItemResults | Failure:
        drawn = [(item, self.sketches.get(item.item)) for item in asked.items]
        scores = tuple(
            item.scored(1.0 - int(item.item[-1]), FINE if sketch else None, sketch) for item, sketch in drawn
        )
        name = recipe.sources[0].location
        self.asked.append(name)
        return self.faults.get(name) or ItemResults(self.other_digest or asked.digest, scores, 3.0)

    def evaluate_folder(self, folder: Path, split: Split, own: OwnDrawing = AS_TASKS_SAY) -> ItemResults | Failure:
        raise NotImplementedError

    def ask(self, folder: Path, items: Sequence[EvalItem], own: OwnDrawing = AS_TASKS_SAY) -> Sample | Failure:
        raise NotImplementedError

    def ask_candidate(self, recipe: Recipe, item: EvalItem) -> Sample | Failure:
        raise NotImplementedError


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def evaluator(tmp_path: Path, faulty: Faulty) -> CachedEvaluator:
    return CachedEvaluator(Ledger(tmp_path / "ledger.sqlite"), faulty)


def test_a_scored_recipe_is_not_asked_again_and_evaluations_come_in_order(
    evaluator: CachedEvaluator, faulty: Faulty
) -> None:
    first = evaluator.evaluate([single("a/one"), single("b/two")], Split.SEARCH)
    again = evaluator.evaluate([single("b/two"), single("a/one"), single("c/three")], Split.SEARCH)
    assert faulty.asked == ["b/two", "a/one", "c/three"]
    assert again[:2] == (first[1], first[0])
    assert [score.value for score in first[0].scores] == [1.0, 0.0]
    assert first[0].seconds == 1.5  # its share of wall time: two workers score at once


def test_splits_have_different_evaluation_sets(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    evaluator.evaluate([single("a/one")], Split.SEARCH)
    evaluator.evaluate([single("a/one")], Split.REPORT)
    assert faulty.asked == ["a/one", "a/one"]


def in_rounds(evaluator: CachedEvaluator, names: Sequence[str], last: int) -> dict[str, list[Evaluation]]:
    """The evaluations of recipes on every round up to one."""
    found: dict[str, list[Evaluation]] = {name: [] for name in names}

    def next_round(index: int, evaluation: Evaluation) -> int | None:
        found[names[index]].append(evaluation)
        done = len(found[names[index]])
        return done if done <= last and evaluation.failure is None else None

    evaluator.evaluate_rounds([single(name) for name in names], Split.SEARCH, [0] * len(names), next_round)
    return found


def test_each_round_is_asked_and_remembered_by_itself(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    first = in_rounds(evaluator, ["a/one"], last=0)
    assert faulty.asked == ["a/one"]
    both = in_rounds(evaluator, ["a/one", "a/two"], last=1)
    assert faulty.asked == ["a/one", "a/two", "a/two", "a/one"]  # a/one goes on at its second round
    assert both["a/one"][:1] == first["a/one"]
    for evaluations in both.values():
        scores = [(score.item, score.value) for evaluation in evaluations for score in evaluation.scores]
        assert scores == [("search-0", 1.0), ("search-1", 0.0)]
    assert in_rounds(evaluator, ["a/two", "a/one"], last=1) == both and len(faulty.asked) == 4


def test_a_recipe_that_fails_in_a_round_is_asked_no_more(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    faulty.faults["a/one"] = Failure("not finite", seconds=4.0)
    ((failed,), (_, other)) = in_rounds(evaluator, ["a/one", "a/two"], last=1).values()
    assert failed.failure == "not finite" and failed.seconds == 2.0 and other.failure is None
    assert faulty.asked.count("a/one") == 1


def test_a_recipe_that_has_answered_some_items_is_asked_only_the_others(
    evaluator: CachedEvaluator, faulty: Faulty
) -> None:
    (begun,) = in_rounds(evaluator, ["a/one"], last=0).values()
    assert faulty.asked == ["a/one"]
    both = evaluator.evaluate([single("b/two"), single("a/one")], Split.SEARCH)
    assert sorted(faulty.asked) == ["a/one", "a/one", "b/two"]
    assert [(score.item, score.value) for score in both[1].scores] == [("search-0", 1.0), ("search-1", 0.0)]
    assert both[1].seconds == 2 * begun[0].seconds and both[1].failure is None
    assert evaluator.evaluate([single("a/one"), single("b/two")], Split.SEARCH) == (both[1], both[0])
    in_rounds(evaluator, ["c/three"], last=1)
    evaluator.evaluate([single("c/three")], Split.SEARCH)
    assert faulty.asked.count("c/three") == 2 and faulty.asked.count("a/one") == 2


def test_pictures_are_compared_over_the_whole_set_in_whatever_rounds_they_were_drawn(
    evaluator: CachedEvaluator, faulty: Faulty
) -> None:
    picture = np.full((8, 8, 3), 200, np.uint8)
    faulty.sketches = {f"search-{index}": make_sketch(picture, subject) for index, subject in enumerate(("cat", "dog"))}
    in_rounds(evaluator, ["a/one", "c/three"], last=0)
    names = ("a/one", "b/two", "c/three")
    scored = [evaluator.evaluate([single(name)], Split.SEARCH)[0] for name in names]
    assert [[score.flag for score in one.scores] for one in scored] == [[EQUAL, EQUAL]] * 3
    again = CachedEvaluator(Ledger(evaluator._ledger.path), faulty)
    assert again.evaluate(list(map(single, names)), Split.SEARCH) == tuple(scored) and len(faulty.asked) == 5
    faulty.sketches["search-1"] = make_sketch(picture - 1, "dog")
    (apart,) = evaluator.evaluate([single("d/four")], Split.SEARCH)
    assert [score.flag for score in apart.scores] == [FINE, FINE]


def test_a_recipe_that_fails_at_the_items_it_has_left_has_failed_and_a_replay_says_so_too(
    evaluator: CachedEvaluator, faulty: Faulty
) -> None:
    in_rounds(evaluator, ["a/one"], last=0)
    faulty.faults["a/one"] = Failure("not finite")
    done: list[None] = []
    (failed,) = evaluator.evaluate([single("a/one")], Split.SEARCH, lambda: done.append(None))
    assert failed.failure == "not finite" and failed.scores == () and len(done) == 1
    faulty.faults.clear()
    assert evaluator.evaluate([single("a/one")], Split.SEARCH) == (failed,) and faulty.asked == ["a/one"] * 2


def test_what_the_machine_failed_at_in_the_items_left_is_tried_again_where_that_is_asked(
    evaluator: CachedEvaluator, faulty: Faulty
) -> None:
    in_rounds(evaluator, ["a/one"], last=0)
    faulty.faults["a/one"] = Failure("out of memory", transient=True)
    (failed,) = evaluator.evaluate([single("a/one")], Split.SEARCH, retry_transient=True)
    assert failed.failure == "out of memory" and faulty.asked == ["a/one"] * 2
    faulty.faults.clear()
    assert evaluator.evaluate([single("a/one")], Split.SEARCH) == (failed,) and faulty.asked == ["a/one"] * 2
    (scored,) = evaluator.evaluate([single("a/one")], Split.SEARCH, retry_transient=True)
    assert scored.failure is None and len(scored.scores) == 2 and faulty.asked == ["a/one"] * 3


def test_scores_of_other_items_are_refused_and_not_kept(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    faulty.other_digest = "digest of documents in another order"
    with pytest.raises(ShoalError, match="a worker scored other items than it was asked to"):
        evaluator.evaluate([single("a/one")], Split.SEARCH)
    faulty.other_digest = None
    (scored,) = evaluator.evaluate([single("a/one")], Split.SEARCH)
    assert scored.failure is None and faulty.asked == ["a/one"] * 2


def test_the_time_of_a_failed_candidate_counts_and_is_remembered(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    faulty.faults["a/one"] = Failure("no scores after 60 seconds", transient=True, seconds=60.0)
    assert [one.seconds for _ in range(2) for one in evaluator.evaluate([single("a/one")], Split.SEARCH)] == [
        30.0,
        30.0,
    ]


def test_a_failure_is_remembered_and_a_replay_meets_it_again(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    faulty.faults["a/one"] = Failure("its worker died", transient=True)
    (failed,) = evaluator.evaluate([single("a/one")], Split.SEARCH)
    faulty.faults.clear()
    assert evaluator.evaluate([single("a/one")], Split.SEARCH) == (failed,)
    assert failed.failure == "its worker died" and failed.scores == ()


def test_a_new_cycle_tries_again_what_may_have_been_the_machines_fault(tmp_path: Path, faulty: Faulty) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    faulty.faults["a/one"] = Failure("out of memory", transient=True)
    faulty.faults["b/two"] = Failure("the merge is not finite")
    CachedEvaluator(ledger, faulty).evaluate([single("a/one"), single("b/two")], Split.SEARCH)
    faulty.faults.clear()
    ledger.begin("tiny", "words", datetime.now(UTC))
    one, two = CachedEvaluator(ledger, faulty).evaluate([single("a/one"), single("b/two")], Split.SEARCH)
    assert one.failure is None and two.failure == "the merge is not finite"


def test_a_source_that_cannot_be_scored_stops_the_cycle_and_is_tried_again_by_the_next_run(
    evaluator: CachedEvaluator, faulty: Faulty
) -> None:
    baselines = [
        Baseline("a/one", BaselineKind.SOURCE, single("a/one")),
        Baseline("b/two", BaselineKind.SOURCE, single("b/two")),
    ]
    faulty.faults["b/two"] = Failure("CUDA out of memory", transient=True)
    with pytest.raises(ShoalError, match=r"b/two: could not be scored on the validation split \(CUDA out of memory\)"):
        evaluate_baselines(evaluator, baselines, Split.VALIDATION)
    faulty.faults.clear()
    assert [baseline.name for baseline, _ in evaluate_baselines(evaluator, baselines, Split.VALIDATION)] == [
        "a/one",
        "b/two",
    ]


def test_only_a_plain_merge_that_is_broken_in_itself_is_left_out(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    baselines = [
        Baseline("sum", BaselineKind.PLAIN, single("sum")),
        Baseline("a/one", BaselineKind.SOURCE, single("a/one")),
    ]
    faulty.faults["sum"] = Failure("the merge is not finite")
    assert [baseline.name for baseline, _ in evaluate_baselines(evaluator, baselines, Split.SEARCH)] == ["a/one"]
    faulty.faults["sum"] = Failure("its worker died", transient=True)
    with pytest.raises(ShoalError, match="sum: could not be scored"):
        evaluate_baselines(evaluator, baselines, Split.REPORT)
