"""The ledger as a cache in front of an evaluator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from bot.errors import ShoalError
from bot.ledger.ledger import EvaluationEntry, ItemValue, Ledger
from bot.scoring.evaluator import Evaluation, Evaluator, Failure
from evaluation.answers.alike import flag_alike
from evaluation.eval_set import AS_TASKS_SAY, EvalItem, EvalSetFacts, ItemResults, OwnDrawing, RoundFacts, Sample
from evaluation.scores import ItemScore
from evaluation.splits import Split
from merging.identity import ModelId
from merging.recipes.recipe import Recipe

OpenAlone = Callable[[ModelId], AbstractContextManager[Evaluator]]


class CachedEvaluator:
    """Scores recipes once: what the ledger knows comes from there, the rest from the evaluator and goes into it."""

    def __init__(self, ledger: Ledger, evaluator: Evaluator, open_alone: OpenAlone | None = None) -> None:
        """open_alone: opens an evaluator of one source as it is published, for pools of several vocabularies."""
        self._ledger = ledger
        self._evaluator = evaluator
        self._open_alone = open_alone
        self._facts: dict[Split, EvalSetFacts] = {}

    @contextmanager
    def alone(self, model: ModelId) -> Iterator[CachedEvaluator]:
        """An evaluator of a source as it is published: asked the same items with its own tokenizer."""
        assert self._open_alone is not None
        with self._open_alone(model) as evaluator:
            yield CachedEvaluator(self._ledger, evaluator)

    def facts(self, split: Split) -> EvalSetFacts:
        """Describe the evaluation set of a split; the evaluator is asked once."""
        if split not in self._facts:
            self._facts[split] = self._evaluator.facts(split)
        return self._facts[split]

    def evaluate(
        self,
        recipes: Sequence[Recipe],
        split: Split,
        on_done: Callable[[], None] = lambda: None,
        *,
        retry_transient: bool = False,
    ) -> tuple[Evaluation, ...]:
        """Score recipes on a split; the evaluations are in the order of `recipes`.

        A recipe that has answered the first rounds of the split, in an audition say, is scored on the others alone.

        on_done: called for each recipe, once its scores are in the ledger.
        retry_transient: score those again whose recorded failure may have been the machine's.
        """
        facts = self.facts(split)
        asked = RoundFacts(facts.digest, facts.items)
        found = {index: self._look_up(recipe, asked, retry_transient) for index, recipe in enumerate(recipes)}
        missing = [index for index, evaluation in found.items() if evaluation is None]
        for _ in range(len(recipes) - len(missing)):
            on_done()
        begun = {index: known for index in missing if (known := self._count_known_rounds(recipes[index], split))}
        some = {index: recipes[index] for index in begun}
        found |= self._complete(some, begun, split, on_done, retry_transient=retry_transient)
        missing = [index for index in missing if index not in begun]
        answers = self._evaluator.evaluate([recipes[index] for index in missing], split)
        for position, results in answers:
            index = missing[position]
            found[index] = self._record(recipes[index], asked, results)
            on_done()
        whole = (evaluation for evaluation in found.values() if evaluation is not None)
        return tuple(replace(one, scores=flag_alike(one.scores)) for one in whole)

    def evaluate_rounds(
        self,
        recipes: Sequence[Recipe],
        split: Split,
        first: Sequence[int],
        next_round: Callable[[int, Evaluation], int | None],
        *,
        retry_transient: bool = False,
    ) -> None:
        """Score recipes on rounds of a split, each on one round after the other.

        first: the round (counted from 0) that each recipe begins with. next_round: given a recipe's index and its
        evaluation, once that is in the ledger, the round that it is scored on next; None for no more.
        retry_transient: as in `evaluate`.
        """
        rounds = self.facts(split).rounds

        def find_unknown(index: int, number: int | None) -> int | None:
            """Go on while the ledger knows the scores; the first round of which it does not, None after the last."""
            while number is not None:
                known = self._look_up(recipes[index], rounds[number], retry_transient)
                if known is None:
                    break
                number = next_round(index, known)
            return number

        def record(position: int, results: ItemResults | Failure) -> int | None:
            index = missing[position]
            evaluation = self._record(recipes[index], rounds[asked[index]], results)
            number = find_unknown(index, next_round(index, evaluation))
            if number is not None:
                asked[index] = number
            return number

        starts = [(index, find_unknown(index, number)) for index, number in enumerate(first)]
        asked = {index: number for index, number in starts if number is not None}
        missing = list(asked)
        self._evaluator.evaluate_rounds(
            [recipes[index] for index in missing], split, [asked[index] for index in missing], record
        )

    def recorded(self, recipe: str, split: Split) -> tuple[ItemScore, ...]:
        """The scores on a split's items that the ledger has of a recipe (its digest), in the order of the items.

        It does not matter for which evaluation set, round or watchlist they were asked.
        """
        items = self.facts(split).items
        known = self._ledger.item_values(recipe, {item.digest for item in items})
        found = [(item, known.get((item.digest, item.item))) for item in items]
        return tuple(item.scored(score.value, score.flag, score.sketch) for item, score in found if score is not None)

    def evaluate_folder(
        self, folder: Path, split: Split, own: OwnDrawing = AS_TASKS_SAY
    ) -> tuple[ItemScore, ...] | Failure:
        """Score a written checkpoint. The scores are not recorded: they only confirm those of its recipe."""
        results = self._evaluator.evaluate_folder(folder, split, own)
        if isinstance(results, Failure):
            return results
        return flag_alike(_check_results(results, self.facts(split).digest))

    def ask(self, folder: Path, items: Sequence[EvalItem], own: OwnDrawing = AS_TASKS_SAY) -> Sample | Failure:
        """Ask a written checkpoint the one of some items that has the shortest prompt; the answer is not recorded."""
        return self._evaluator.ask(folder, items, own)

    def ask_candidate(self, recipe: Recipe, item: EvalItem) -> Sample | Failure:
        """Ask a recipe's model one item; the answer is not recorded."""
        return self._evaluator.ask_candidate(recipe, item)

    def _count_known_rounds(self, recipe: Recipe, split: Split) -> int:
        """How many of a split's first rounds have all their items' scores in the ledger, however they were asked."""
        rounds = self.facts(split).rounds
        known = self._ledger.item_values(recipe.digest, {item.digest for asked in rounds for item in asked.items})
        missing = (any((item.digest, item.item) not in known for item in asked.items) for asked in rounds)
        return next((number for number, is_missing in enumerate(missing) if is_missing), len(rounds))

    def _complete(
        self,
        recipes: Mapping[int, Recipe],
        begun: Mapping[int, int],
        split: Split,
        on_done: Callable[[], None],
        *,
        retry_transient: bool,
    ) -> dict[int, Evaluation]:
        """Score recipes on the rounds that each has left; their evaluations on the whole split, which are recorded."""
        facts = self.facts(split)
        indices = [index for index, known in begun.items() if known < len(facts.rounds)]
        failed: dict[int, Evaluation] = {}
        reached = dict(begun)

        def next_round(position: int, evaluation: Evaluation) -> int | None:
            index = indices[position]
            reached[index] += 1
            if evaluation.failure is not None:
                failed[index] = evaluation
            return reached[index] if evaluation.failure is None and reached[index] < len(facts.rounds) else None

        some, first = [recipes[index] for index in indices], [begun[index] for index in indices]
        self.evaluate_rounds(some, split, first, next_round, retry_transient=retry_transient)
        asked = RoundFacts(facts.digest, facts.items)
        for index in recipes.keys() - failed.keys():
            self._record_whole(recipes[index], asked, facts.rounds)
        for _ in recipes:
            on_done()
        whole = {index: self._look_up(recipes[index], asked, False) for index in recipes.keys() - failed.keys()}
        return failed | {index: evaluation for index, evaluation in whole.items() if evaluation is not None}

    def _record_whole(self, recipe: Recipe, whole: RoundFacts, rounds: Sequence[RoundFacts]) -> None:
        """Record that a recipe has answered all rounds; seconds: of those that were asked as rounds."""
        entries = [self._ledger.evaluation(recipe.digest, one.digest) for one in rounds]
        seconds = sum(entry.seconds for entry in entries if entry is not None)
        text = json.dumps(recipe.to_json(), sort_keys=True)
        self._ledger.record_evaluation(text, EvaluationEntry(recipe.digest, whole.digest, seconds, None), ())

    def _look_up(self, recipe: Recipe, asked: RoundFacts, retry_transient: bool) -> Evaluation | None:
        entry = self._ledger.evaluation(recipe.digest, asked.digest)
        if entry is None or (retry_transient and entry.transient):
            return None
        if entry.failure is not None:
            return Evaluation(recipe, (), entry.failure, entry.seconds, entry.transient)
        known = self._ledger.item_values(recipe.digest, {item.digest for item in asked.items})
        stored = [(item, known[item.digest, item.item]) for item in asked.items]
        scores = tuple(item.scored(value.value, value.flag, value.sketch) for item, value in stored)
        return Evaluation(recipe, scores, None, entry.seconds)

    def _record(self, recipe: Recipe, asked: RoundFacts, results: ItemResults | Failure) -> Evaluation:
        text = json.dumps(recipe.to_json(), sort_keys=True)
        # A share of the wall time, not of the workers' time: a budget of minutes is one of the person's minutes.
        seconds = results.seconds / self._evaluator.width
        if isinstance(results, Failure):
            entry = EvaluationEntry(recipe.digest, asked.digest, seconds, results.reason, results.transient)
            self._ledger.record_evaluation(text, entry, ())
            return Evaluation(recipe, (), results.reason, seconds, results.transient)
        scores = _check_results(results, asked.digest)
        items = [
            ItemValue(item.digest, item.item, score.value, score.flag, score.sketch)
            for item, score in zip(asked.items, scores, strict=True)
        ]
        self._ledger.record_evaluation(text, EvaluationEntry(recipe.digest, asked.digest, seconds, None), items)
        return Evaluation(recipe, scores, None, seconds)


def _check_results(results: ItemResults, digest: str) -> tuple[ItemScore, ...]:
    """The scores; ShoalError if they are not those of the evaluation set with this digest."""
    if results.eval_set != digest:
        raise ShoalError(
            "a worker scored other items than it was asked to: a task's documents differ each time it is loaded; "
            "leave out tasks that shuffle or sample their documents without a seed"
        )
    return results.scores
