"""Worker processes that score candidates. One that dies is replaced and its candidate tried once more."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pebble import ProcessExpired, ProcessPool

from bot.errors import ShoalError
from bot.scoring.bench import Bench, BenchAtWork, ExamFacts, Marks
from evaluation.errors import EvaluationError
from evaluation.splits import Split
from merging.errors import MergingError
from merging.recipe import Recipe

T = TypeVar("T")

TRIES = 2
"""A candidate whose worker died is tried once more: the death may have been another's fault (memory, a kill)."""


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be scored, and why."""

    reason: str


class Examiners(Protocol):
    """Whoever scores candidates: the processes here, or machines elsewhere."""

    def facts(self, split: Split) -> ExamFacts:
        """What the exam of a split asks."""

    def score(self, recipes: Sequence[Recipe], split: Split) -> Iterator[tuple[int, Marks | Failure]]:
        """Score recipes; yields (index into `recipes`, marks or failure) in the order in which they are done."""

    def score_folder(self, folder: Path, split: Split) -> Marks | Failure:
        """Score a written checkpoint."""


class Workers:
    """Worker processes on this machine; a context manager, for they are stopped whatever happens."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def __enter__(self) -> Workers:
        self._pool = ProcessPool(
            max_workers=self._bench.crew.workers,
            initializer=_open,
            initargs=[self._bench],
            # A forked copy of a process with threads or CUDA is not safe to use.
            context=multiprocessing.get_context("spawn"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()
        self._pool.join()

    def facts(self, split: Split) -> ExamFacts:
        """What the exam of a split asks; raises what makes it unusable, before anything is scored."""
        answer = self._ask(_facts, split)
        if isinstance(answer, Failure):
            raise ShoalError(f"the exam of the {split} split cannot be built: {answer.reason}")
        return answer

    def score(self, recipes: Sequence[Recipe], split: Split) -> Iterator[tuple[int, Marks | Failure]]:
        """Score recipes on all workers at once."""
        running = {self._submit(_score, recipe, split): (index, 1) for index, recipe in enumerate(recipes)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, tries = running.pop(future)
                answer = _answer(future)
                if isinstance(answer, _Died) and tries < TRIES:
                    running[self._submit(_score, recipes[index], split)] = (index, tries + 1)
                else:
                    yield index, _final(answer)

    def score_folder(self, folder: Path, split: Split) -> Marks | Failure:
        """Score a written checkpoint in one worker."""
        return self._ask(_score_folder, folder, split)

    def _ask(self, function: Callable[..., T], *arguments: object) -> T | Failure:
        """One answer from one worker, asked again if the worker dies."""
        answer = _answer(self._submit(function, *arguments))
        return _final(_answer(self._submit(function, *arguments)) if isinstance(answer, _Died) else answer)

    def _submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        future: Future[T] = self._pool.schedule(function, args=arguments)
        return future


@dataclass(frozen=True)
class _Died:
    """A worker ended before it answered."""

    reason: str


def _answer(future: Future[T]) -> T | Failure | _Died:
    try:
        return future.result()
    except ProcessExpired as error:
        return _Died(f"its worker died (exit code {error.exitcode}), also on the second try")
    except BrokenProcessPool as error:
        raise ShoalError(
            "no worker process can be started: is there memory left? see the log, or set workers.count"
        ) from error
    except (EvaluationError, MergingError) as error:
        return Failure(str(error))
    except Exception as error:  # whatever a candidate's model does, the search goes on without it
        logging.getLogger("shoal").debug("a candidate failed", exc_info=error)
        return Failure(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _final(answer: T | Failure | _Died) -> T | Failure:
    return Failure(answer.reason) if isinstance(answer, _Died) else answer


# -- in the worker ------------------------------------------------------------------------------------------------

_at_work: BenchAtWork
"""This process's bench: set once, when the process starts."""


def _open(bench: Bench) -> None:
    """Start a worker: Ctrl-C is the parent's to handle, and threads stay within this worker's share of the cores."""
    global _at_work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.disable(logging.WARNING)
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(bench.crew.threads)
    _at_work = BenchAtWork(bench)


def _facts(split: Split) -> ExamFacts:
    return _at_work.facts(split)


def _score(recipe: Recipe, split: Split) -> Marks:
    return _at_work.score(recipe, split)


def _score_folder(folder: Path, split: Split) -> Marks:
    return _at_work.score_folder(folder, split)
