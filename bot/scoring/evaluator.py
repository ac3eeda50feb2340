"""The evaluator: the protocol by which a search has its recipes scored.

Worker processes on this machine are one implementation (`process_pool`), a cluster could be another. Which one a cycle
uses is decided where the cycle is put together: `run_cycle` takes an `EvaluatorFactory`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bot.scoring.worker_spec import WorkerSpec
from evaluation.eval_set import AS_TASKS_SAY, EvalItem, EvalSetFacts, ItemResults, OwnDrawing, Sample
from evaluation.scores import ItemScore
from evaluation.splits import Split
from merging.recipes.recipe import Recipe


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be scored, and why.

    transient: the cause may be the machine (memory, a killed worker) rather than the candidate.
    seconds: worker time spent on it.
    """

    reason: str
    transient: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """A scored recipe: its item scores in the order of the evaluation set, or why it has none.

    seconds: its share of the wall time when it was scored, so that a replay counts the same time.
    transient: the failure may be the machine's (memory, a killed worker) rather than the recipe's.
    """

    recipe: Recipe
    scores: tuple[ItemScore, ...]
    failure: str | None
    seconds: float
    transient: bool = False


NextRound = Callable[[int, ItemResults | Failure], int | None]
"""Given a recipe's index and its results: the round that it is scored on next, None for no more."""


class Evaluator(Protocol):
    """Scores candidates on the evaluation sets of a watchlist."""

    @property
    def width(self) -> int:
        """Number of candidates that are scored at the same time."""

    def facts(self, split: Split) -> EvalSetFacts:
        """Describe the evaluation set of a split; ShoalError if it cannot be built."""

    def evaluate(self, recipes: Sequence[Recipe], split: Split) -> Iterator[tuple[int, ItemResults | Failure]]:
        """Score recipes on a split.

        Yields (index into `recipes`, results or failure) in the order in which they finish.
        """

    def evaluate_rounds(
        self, recipes: Sequence[Recipe], split: Split, first: Sequence[int], next_round: NextRound
    ) -> None:
        """Score recipes on rounds of a split, each on one round after the other while its model is in memory.

        first: the round (counted from 0) that each recipe begins with. `next_round` is called in this thread with the
        results of every round, in the order in which they finish.
        """

    def evaluate_folder(self, folder: Path, split: Split, own: OwnDrawing = AS_TASKS_SAY) -> ItemResults | Failure:
        """Score a written checkpoint. own: its recipe's."""

    def ask(self, folder: Path, items: Sequence[EvalItem], own: OwnDrawing = AS_TASKS_SAY) -> Sample | Failure:
        """Ask a written checkpoint the one of some items that has the shortest prompt. own: its recipe's."""

    def ask_candidate(self, recipe: Recipe, item: EvalItem) -> Sample | Failure:
        """Ask a recipe's model one item, without writing it."""


def own_drawing(recipe: Recipe) -> OwnDrawing:
    """What a recipe's model draws in otherwise than tasks say."""
    return OwnDrawing(recipe.steps, recipe.size)


EvaluatorFactory = Callable[[WorkerSpec, float | None], AbstractContextManager[Evaluator]]
"""Makes an evaluator from what its workers are sent and the seconds that a candidate may take (None: adaptive)."""
