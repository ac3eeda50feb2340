"""The cache in front of an evaluator, and baselines: what is scored again, what is not, and what stops a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.ledger.ledger import Ledger
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Failure
from bot.search.baselines import Baseline, evaluate_baselines
from bot.search.results import BaselineKind
from evaluation.eval_set import EvalItem, EvalSetFacts, ItemResults, RoundFacts, Sample
from evaluation.splits import Split
from merging.identity import ModelId
from merging.partition import Partition
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

    @property
    def width(self) -> int:
        return 2

    def facts(self, split: Split) -> EvalSetFacts:
        items = tuple(EvalItem("math", "m:acc", "task-digest", f"{split}-{index}") for index in range(2))
        rounds = tuple(RoundFacts(f"round {part} of {split}", (item,)) for part, item in enumerate(items))
        return EvalSetFacts(f"set of {split}", items, (("m:acc", True),), (), "a question", rounds)

    def evaluate(
        self,
        recipes: Sequence[WeightMerge],
        split: Split,
        round_index: int | None = None,
    ) -> Iterator[tuple[int, ItemResults | Failure]]:
        asked = self.facts(split).part(round_index)
        scores = tuple(item.scored(1.0 - int(item.item[-1]), None) for item in asked.items)
        results = ItemResults(self.other_digest or asked.digest, scores, 3.0)
        for index, recipe in reversed(list(enumerate(recipes))):  # in the order in which they are done, not asked
            name = recipe.sources[0].location
            self.asked.append(name)
            yield index, self.faults.get(name) or results

    def evaluate_folder(self, folder: Path, split: Split) -> ItemResults | Failure:
        raise NotImplementedError

    def ask(self, folder: Path, items: Sequence[EvalItem]) -> Sample | Failure:
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


def test_each_round_is_asked_and_remembered_by_itself(evaluator: CachedEvaluator, faulty: Faulty) -> None:
    (first,) = evaluator.evaluate([single("a/one")], Split.SEARCH, round_index=0)
    (second,) = evaluator.evaluate([single("a/one")], Split.SEARCH, round_index=1)
    assert [(score.item, score.value) for score in (*first.scores, *second.scores)] == [
        ("search-0", 1.0),
        ("search-1", 0.0),
    ]
    assert evaluator.evaluate([single("a/one")], Split.SEARCH, round_index=0) == (first,)
    assert faulty.asked == ["a/one", "a/one"]


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
