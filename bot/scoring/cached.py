"""What recipes score: from the ledger where they sat the exam before, else from whoever scores candidates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.ledger.ledger import EvaluationEntry, ItemValue, Ledger
from bot.scoring.process_pool import Evaluator, Failure
from bot.scoring.worker import EvalItem, EvalSetFacts, ItemResults, RoundFacts
from evaluation.scores import ItemScore
from evaluation.splits import Split
from merging.recipes.path import Recipe


@dataclass(frozen=True)
class Evaluation:
    """A recipe that sat an exam: its item scores in the exam's order, or the failure.

    seconds: its share of wall time when it was scored, so that a replay counts the same time.
    transient: the failure may be this machine's (memory, a killed worker) rather than the recipe's.
    """

    recipe: Recipe
    scores: tuple[ItemScore, ...]
    failure: str | None
    seconds: float
    transient: bool = False


class CachedEvaluator:
    """Scores recipes and keeps what it learns; who does the work it does not know."""

    def __init__(self, ledger: Ledger, evaluator: Evaluator, workers: int) -> None:
        self._ledger = ledger
        self._inner = evaluator
        self._workers = workers
        self._eval_sets: dict[Split, EvalSetFacts] = {}

    def eval_set(self, split: Split) -> EvalSetFacts:
        """What the exam of a split asks; asked once."""
        if split not in self._eval_sets:
            self._eval_sets[split] = self._inner.facts(split)
        return self._eval_sets[split]

    def evaluate(
        self,
        recipes: Sequence[Recipe],
        split: Split,
        done: Callable[[], None] = lambda: None,
        *,
        forgive: bool = False,
        part: int | None = None,
    ) -> tuple[Evaluation, ...]:
        """Scores for each recipe, in order. Each is in the ledger before `done` is called for it.

        forgive: try those again whose recorded failure may have been the machine's. part: one round of the exam alone.
        """
        asked = _asked(self.eval_set(split), part)
        answers = {index: self._from_ledger(recipe, asked, forgive) for index, recipe in enumerate(recipes)}
        missing = [index for index, answer in answers.items() if answer is None]
        for _ in range(len(recipes) - len(missing)):
            done()
        for position, results in self._inner.score([recipes[index] for index in missing], split, part):
            index = missing[position]
            answers[index] = self._record(recipes[index], asked, results)
            done()
        return tuple(answer for answer in answers.values() if answer is not None)

    def evaluate_folder(self, folder: Path, split: Split) -> tuple[ItemScore, ...] | Failure:
        """Scores of a written checkpoint. They are not kept: they only ever confirm those of its recipe."""
        results = self._inner.score_folder(folder, split)
        return results if isinstance(results, Failure) else _item_scores(self.eval_set(split).items, results.values)

    def _from_ledger(self, recipe: Recipe, eval_set: RoundFacts, forgive: bool) -> Evaluation | None:
        entry = self._ledger.evaluation(recipe.digest, eval_set.digest)
        if entry is None or (forgive and entry.transient):
            return None
        if entry.failure is not None:
            return Evaluation(recipe, (), entry.failure, entry.seconds, entry.transient)
        known = self._ledger.item_values(recipe.digest, {item.digest for item in eval_set.items})
        values = [known[item.digest, item.item] for item in eval_set.items]
        return Evaluation(
            recipe, _item_scores(eval_set.items, [(v.value, v.flag) for v in values]), None, entry.seconds
        )

    def _record(self, recipe: Recipe, eval_set: RoundFacts, results: ItemResults | Failure) -> Evaluation:
        text = json.dumps(recipe.to_json(), sort_keys=True)
        seconds = results.seconds / self._workers
        if isinstance(results, Failure):
            entry = EvaluationEntry(recipe.digest, eval_set.digest, seconds, results.reason, results.transient)
            self._ledger.record_evaluation(text, entry, ())
            return Evaluation(recipe, (), results.reason, seconds, results.transient)
        items = [
            ItemValue(item.digest, item.item, value, flag)
            for item, (value, flag) in zip(eval_set.items, results.values, strict=True)
        ]
        self._ledger.record_evaluation(text, EvaluationEntry(recipe.digest, eval_set.digest, seconds, None), items)
        return Evaluation(recipe, _item_scores(eval_set.items, results.values), None, seconds)


def directions(eval_set: EvalSetFacts) -> Mapping[str, bool]:
    """Whether higher is better, by task."""
    return dict(eval_set.directions)


def _asked(eval_set: EvalSetFacts, part: int | None) -> RoundFacts:
    return RoundFacts(eval_set.digest, eval_set.items) if part is None else eval_set.rounds[part]


def _item_scores(items: Sequence[EvalItem], values: Sequence[tuple[float, str | None]]) -> tuple[ItemScore, ...]:
    return tuple(
        ItemScore(item.skill, item.task, item.item, value, flag)
        for item, (value, flag) in zip(items, values, strict=True)
    )
