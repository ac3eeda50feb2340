"""The judge and the rivals: what is asked again, what is remembered, and what stops a cycle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bot.contest.findings import Kind
from bot.contest.search import Rival, sit_rivals
from bot.errors import ShoalError
from bot.ledger.book import Ledger
from bot.scoring.bench import ExamFacts, ExamItem, Marks, RoundFacts
from bot.scoring.judge import Judge
from bot.scoring.workers import Failure
from bot.shop import now
from evaluation.splits import Split
from merging.recipe import Groups, Recipe, SourceRef

WHOLE = Groups.even(2, 1, modules_apart=False, ends_apart=False)


def single(name: str) -> Recipe:
    return Recipe.single(SourceRef(name, "0" * 40), WHOLE, "float32")


class Faulty:
    """Answers 1.0 for both items of an exam, except where a fault was laid for a source; counts what it is asked."""

    def __init__(self) -> None:
        self.faults: dict[str, Failure] = {}
        self.asked: list[str] = []

    def facts(self, split: Split) -> ExamFacts:
        items = tuple(ExamItem("math", "m:acc", "task-digest", f"{split}-{index}") for index in range(2))
        rounds = tuple(RoundFacts(f"round {part} of {split}", (item,)) for part, item in enumerate(items))
        return ExamFacts(f"exam of {split}", items, (("m:acc", True),), (), "a question", rounds)

    def score(
        self,
        recipes: Sequence[Recipe],
        split: Split,  # noqa: ARG002
        part: int | None = None,
    ) -> Iterator[tuple[int, Marks | Failure]]:
        for index, recipe in reversed(list(enumerate(recipes))):  # in the order in which they are done, not asked
            name = recipe.sources[0].repo
            self.asked.append(name)
            values = ((1.0, None), (0.0, None))
            yield index, self.faults.get(name) or Marks(values if part is None else values[part : part + 1], 3.0)

    def score_folder(self, folder: Path, split: Split) -> Marks | Failure:
        raise NotImplementedError


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def judge(tmp_path: Path, faulty: Faulty) -> Judge:
    return Judge(Ledger(tmp_path / "ledger.sqlite"), faulty, workers=2)


def test_what_sat_the_exam_is_not_asked_again_and_answers_come_in_order(judge: Judge, faulty: Faulty) -> None:
    first = judge.sit([single("a/one"), single("b/two")], Split.SEARCH)
    again = judge.sit([single("b/two"), single("a/one"), single("c/three")], Split.SEARCH)
    assert faulty.asked == ["b/two", "a/one", "c/three"]
    assert again[:2] == (first[1], first[0])
    assert [score.value for score in first[0].scores] == [1.0, 0.0]
    assert first[0].seconds == 1.5  # its share of wall time: two workers score at once


def test_splits_are_different_exams(judge: Judge, faulty: Faulty) -> None:
    judge.sit([single("a/one")], Split.SEARCH)
    judge.sit([single("a/one")], Split.REPORT)
    assert faulty.asked == ["a/one", "a/one"]


def test_each_round_of_an_exam_is_asked_and_remembered_by_itself(judge: Judge, faulty: Faulty) -> None:
    (first,) = judge.sit([single("a/one")], Split.SEARCH, part=0)
    (second,) = judge.sit([single("a/one")], Split.SEARCH, part=1)
    assert [(score.item, score.value) for score in (*first.scores, *second.scores)] == [
        ("search-0", 1.0),
        ("search-1", 0.0),
    ]
    assert judge.sit([single("a/one")], Split.SEARCH, part=0) == (first,)
    assert faulty.asked == ["a/one", "a/one"]


def test_the_time_of_a_failed_candidate_counts_and_is_remembered(judge: Judge, faulty: Faulty) -> None:
    faulty.faults["a/one"] = Failure("no scores after 60 seconds", transient=True, seconds=60.0)
    assert [sat.seconds for _ in range(2) for sat in judge.sit([single("a/one")], Split.SEARCH)] == [30.0, 30.0]


def test_a_failure_stands_for_a_candidate_and_a_replay_meets_it_again(judge: Judge, faulty: Faulty) -> None:
    faulty.faults["a/one"] = Failure("its worker died", transient=True)
    (failed,) = judge.sit([single("a/one")], Split.SEARCH)
    faulty.faults.clear()
    assert judge.sit([single("a/one")], Split.SEARCH) == (failed,)
    assert failed.failure == "its worker died" and failed.scores == ()


def test_a_new_cycle_tries_again_what_may_have_been_the_machines_fault(tmp_path: Path, faulty: Faulty) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    faulty.faults["a/one"] = Failure("out of memory", transient=True)
    faulty.faults["b/two"] = Failure("the merge is not finite")
    Judge(ledger, faulty, 1).sit([single("a/one"), single("b/two")], Split.SEARCH)
    faulty.faults.clear()
    ledger.begin("tiny", "words", now())
    one, two = Judge(ledger, faulty, 1).sit([single("a/one"), single("b/two")], Split.SEARCH)
    assert one.failure is None and two.failure == "the merge is not finite"


def test_a_source_that_cannot_be_scored_stops_the_cycle_and_is_tried_again_by_the_next_run(
    judge: Judge, faulty: Faulty
) -> None:
    rivals = [Rival("a/one", Kind.SOURCE, single("a/one")), Rival("b/two", Kind.SOURCE, single("b/two"))]
    faulty.faults["b/two"] = Failure("CUDA out of memory", transient=True)
    with pytest.raises(ShoalError, match=r"b/two: could not be scored on the validation split \(CUDA out of memory\)"):
        sit_rivals(judge, rivals, Split.VALIDATION)
    faulty.faults.clear()
    assert [rival.name for rival, _ in sit_rivals(judge, rivals, Split.VALIDATION)] == ["a/one", "b/two"]


def test_only_a_plain_merge_that_is_broken_in_itself_is_left_out(judge: Judge, faulty: Faulty) -> None:
    rivals = [Rival("sum", Kind.PLAIN, single("sum")), Rival("a/one", Kind.SOURCE, single("a/one"))]
    faulty.faults["sum"] = Failure("the merge is not finite")
    assert [rival.name for rival, _ in sit_rivals(judge, rivals, Split.SEARCH)] == ["a/one"]
    faulty.faults["sum"] = Failure("its worker died", transient=True)
    with pytest.raises(ShoalError, match="sum: could not be scored"):
        sit_rivals(judge, rivals, Split.REPORT)
