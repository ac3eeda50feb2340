"""What recipes score: from the ledger where they sat the exam before, else from whoever scores candidates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.ledger.book import EvaluationEntry, ItemValue, Ledger
from bot.scoring.bench import ExamFacts, ExamItem, Marks, RoundFacts
from bot.scoring.workers import Examiners, Failure
from evaluation.scores import ItemScore
from evaluation.splits import Split
from merging.dataflow.path import AnyRecipe


@dataclass(frozen=True)
class Sat:
    """A recipe that sat an exam: its item scores in the exam's order, or the failure.

    seconds: its share of wall time when it was scored, so that a replay counts the same time.
    transient: the failure may be this machine's (memory, a killed worker) rather than the recipe's.
    """

    recipe: AnyRecipe
    scores: tuple[ItemScore, ...]
    failure: str | None
    seconds: float
    transient: bool = False


class Judge:
    """Scores recipes and keeps what it learns; who does the work it does not know."""

    def __init__(self, ledger: Ledger, examiners: Examiners, workers: int) -> None:
        self._ledger = ledger
        self._examiners = examiners
        self._workers = workers
        self._exams: dict[Split, ExamFacts] = {}

    def exam(self, split: Split) -> ExamFacts:
        """What the exam of a split asks; asked once."""
        if split not in self._exams:
            self._exams[split] = self._examiners.facts(split)
        return self._exams[split]

    def sit(
        self,
        recipes: Sequence[AnyRecipe],
        split: Split,
        done: Callable[[], None] = lambda: None,
        *,
        forgive: bool = False,
        part: int | None = None,
    ) -> tuple[Sat, ...]:
        """Scores for each recipe, in order. Each is in the ledger before `done` is called for it.

        forgive: try those again whose recorded failure may have been the machine's. part: one round of the exam alone.
        """
        asked = _asked(self.exam(split), part)
        answers = {index: self._from_ledger(recipe, asked, forgive) for index, recipe in enumerate(recipes)}
        missing = [index for index, answer in answers.items() if answer is None]
        for _ in range(len(recipes) - len(missing)):
            done()
        for position, marks in self._examiners.score([recipes[index] for index in missing], split, part):
            index = missing[position]
            answers[index] = self._record(recipes[index], asked, marks)
            done()
        return tuple(answer for answer in answers.values() if answer is not None)

    def sit_folder(self, folder: Path, split: Split) -> tuple[ItemScore, ...] | Failure:
        """Scores of a written checkpoint. They are not kept: they only ever confirm those of its recipe."""
        marks = self._examiners.score_folder(folder, split)
        return marks if isinstance(marks, Failure) else _item_scores(self.exam(split).items, marks.values)

    def _from_ledger(self, recipe: AnyRecipe, exam: RoundFacts, forgive: bool) -> Sat | None:
        entry = self._ledger.evaluation(recipe.digest, exam.digest)
        if entry is None or (forgive and entry.transient):
            return None
        if entry.failure is not None:
            return Sat(recipe, (), entry.failure, entry.seconds, entry.transient)
        known = self._ledger.item_values(recipe.digest, {item.digest for item in exam.items})
        values = [known[item.digest, item.item] for item in exam.items]
        return Sat(recipe, _item_scores(exam.items, [(v.value, v.flag) for v in values]), None, entry.seconds)

    def _record(self, recipe: AnyRecipe, exam: RoundFacts, marks: Marks | Failure) -> Sat:
        text = json.dumps(recipe.to_json(), sort_keys=True)
        seconds = marks.seconds / self._workers
        if isinstance(marks, Failure):
            entry = EvaluationEntry(recipe.digest, exam.digest, seconds, marks.reason, marks.transient)
            self._ledger.record_evaluation(text, entry, ())
            return Sat(recipe, (), marks.reason, seconds, marks.transient)
        items = [
            ItemValue(item.digest, item.item, value, flag)
            for item, (value, flag) in zip(exam.items, marks.values, strict=True)
        ]
        self._ledger.record_evaluation(text, EvaluationEntry(recipe.digest, exam.digest, seconds, None), items)
        return Sat(recipe, _item_scores(exam.items, marks.values), None, seconds)


def directions(exam: ExamFacts) -> Mapping[str, bool]:
    """Whether higher is better, by task."""
    return dict(exam.directions)


def _asked(exam: ExamFacts, part: int | None) -> RoundFacts:
    return RoundFacts(exam.digest, exam.items) if part is None else exam.rounds[part]


def _item_scores(items: Sequence[ExamItem], values: Sequence[tuple[float, str | None]]) -> tuple[ItemScore, ...]:
    return tuple(
        ItemScore(item.skill, item.task, item.item, value, flag)
        for item, (value, flag) in zip(items, values, strict=True)
    )
