"""Worker processes that score candidates. One that dies is replaced and its candidate tried once more; one that takes
far too long is ended.

Each worker has a pipe of its own and shares no lock with anybody, so that it can be killed at any moment without
harm to the others. (A pool with one queue for all cannot: whoever dies with the queue's lock in hand takes it along.)
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol

from bot.errors import ShoalError
from bot.scoring.worker import EvalSetFacts, ItemResults, Worker, WorkerSpec
from evaluation.errors import EvaluationError
from evaluation.splits import Split
from merging.errors import MergingError
from merging.recipes.path import Recipe

TRIES = 2
"""A candidate whose worker died is tried once more: the death may have been another's fault (memory, a kill)."""

FAREWELL_SECONDS = 2.0
"""How long workers get to end by themselves before they are killed."""

FIRST_TIMEOUT, LEAST_TIMEOUT, SLOWER = 6 * 3600.0, 300.0, 10.0
"""Where no limit is given, a candidate has so many seconds while none has been scored (models, machines and exams are
too unlike to tell more); then as many, or so many times the longest of those before it if that is more. A new worker
has to start in that time, too."""

PRELOADED = ("evaluation.harness.eval_set", "evaluation.engine.engine", "merging.models.live", "merging.paths.live")
"""What takes a worker longest is to import this. It is done once, by a process that does nothing else; workers, those
that replace dead ones too, are forked from it. (What it imports starts no threads but such as survive a fork.)"""

Job = tuple[Callable[..., Any], tuple[object, ...]]
"""A method of Worker and its arguments."""


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be scored, and why.

    transient: it may be this machine's fault (memory, a killed worker) rather than the candidate's.
    seconds: of a worker's time that went into it.
    """

    reason: str
    transient: bool = False
    seconds: float = 0.0


class Evaluator(Protocol):
    """Whoever scores candidates: the processes here, or machines elsewhere."""

    def facts(self, split: Split) -> EvalSetFacts:
        """What the exam of a split asks."""

    def score(
        self, recipes: Sequence[Recipe], split: Split, part: int | None = None
    ) -> Iterator[tuple[int, ItemResults | Failure]]:
        """Score recipes on an exam, or on one round of it (counted from 0).

        Yields (index into `recipes`, marks or failure) in the order in which they are done.
        """

    def score_folder(self, folder: Path, split: Split) -> ItemResults | Failure:
        """Score a written checkpoint."""


class ProcessPool:
    """Worker processes on this machine; a context manager, for they are stopped whatever happens."""

    def __init__(self, spec: WorkerSpec, timeout: float | None = None) -> None:
        """timeout: seconds that a candidate may take; None: many times what the slowest took so far."""
        self._spec = spec
        self._processes: list[_WorkerProcess] = []
        self._timeout = timeout
        self._longest = 0.0

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss(self._processes)

    def facts(self, split: Split) -> EvalSetFacts:
        """What the exam of a split asks; raises what makes it unusable, before anything is scored."""
        answer = self._ask((Worker.facts, (split,)))
        if isinstance(answer, Failure):
            raise ShoalError(f"the exam of the {split} split cannot be built: {answer.reason}")
        assert isinstance(answer, EvalSetFacts)
        return answer

    def score(
        self, recipes: Sequence[Recipe], split: Split, part: int | None = None
    ) -> Iterator[tuple[int, ItemResults | Failure]]:
        """Score recipes on all workers at once."""
        for index, answer in self._work_off([(Worker.score, (recipe, split, part)) for recipe in recipes]):
            if isinstance(answer, ItemResults):
                self._longest = max(self._longest, answer.seconds)
            yield index, answer

    def score_folder(self, folder: Path, split: Split) -> ItemResults | Failure:
        """Score a written checkpoint in one worker."""
        answer: ItemResults | Failure = self._ask((Worker.score_folder, (folder, split)))
        return answer

    def _ask(self, job: Job) -> Any:
        """One answer from one worker."""
        ((_, answer),) = self._work_off([job])
        return answer

    def _work_off(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """Have the jobs done; yields (index, answer or Failure) as they are done.

        A job whose worker died is tried again after all others: if it was the job's fault, they are done by then.
        """
        waiting = deque((index, 1) for index in range(len(jobs)))
        busy: dict[Any, _Task] = {}
        spent = [0.0] * len(jobs)
        try:
            while waiting or busy:
                self._hand_out(jobs, waiting, busy)
                for task, answer in list(self._answers(busy)):
                    spent[task.index] += task.seconds
                    self._hand_out(jobs, waiting, busy)  # no worker idles while an answer is put away
                    if isinstance(answer, _Died) and task.tries < TRIES:
                        waiting.append((task.index, task.tries + 1))
                    elif isinstance(answer, _Died | Failure):
                        yield task.index, replace(_failure(answer), seconds=spent[task.index])
                    else:
                        yield task.index, answer
        finally:
            # Whoever stops listening leaves workers with answers that nobody may take for another's.
            self._dismiss([task.worker for task in busy.values()])

    def _hand_out(self, jobs: Sequence[Job], waiting: deque[tuple[int, int]], busy: dict[Any, _Task]) -> None:
        """Give those who are idle what waits."""
        while waiting and (worker := self._idle_one([task.worker for task in busy.values()])):
            index, tries = waiting.popleft()
            worker.ask(jobs[index])
            busy[worker.line] = _Task(worker, index, tries, time.monotonic())

    def _answers(self, busy: dict[Any, _Task]) -> Iterator[tuple[_Task, Any]]:
        """The next answers, their tasks taken from `busy`; the time limit's where a worker has passed it."""
        limit = self._limit()
        patience = max(0.0, limit - max(task.seconds for task in busy.values()))
        for line in connection.wait(list(busy), patience):
            task = busy.pop(line)
            yield task, task.worker.answer()
        for line, task in list(busy.items()):
            if task.seconds >= limit:
                del busy[line]
                task.worker.kill()
                self._dismiss([task.worker])
                yield task, Failure(f"no scores after {limit:.0f} seconds; its worker was ended", transient=True)

    def _limit(self) -> float:
        """Seconds that a job may take now."""
        if self._timeout is not None:
            return self._timeout
        return max(LEAST_TIMEOUT, SLOWER * self._longest) if self._longest else FIRST_TIMEOUT

    def _idle_one(self, busy: Sequence[_WorkerProcess]) -> _WorkerProcess | None:
        """A living worker that has nothing to do, started if need be; None if all are busy."""
        self._dismiss([worker for worker in self._processes if worker not in busy and not worker.is_fit])
        idle = [worker for worker in self._processes if worker not in busy]
        if not idle and len(self._processes) < self._spec.resources.workers:
            idle = [_WorkerProcess(self._spec)]
            self._processes += idle
        return idle[0] if idle else None

    def _dismiss(self, leaving: Sequence[_WorkerProcess]) -> None:
        leaving = [worker for worker in leaving if worker in self._processes]
        for worker in leaving:
            worker.line.close()
            self._processes.remove(worker)
        last_moment = time.monotonic() + FAREWELL_SECONDS
        for worker in leaving:
            worker.end(max(0.0, last_moment - time.monotonic()))


@dataclass(frozen=True)
class _Died:
    """A worker ended before it answered."""

    code: int | None


@dataclass(frozen=True)
class _Task:
    """A job in a worker's hands: its index, which try it is, and when it was handed over."""

    worker: _WorkerProcess
    index: int
    tries: int
    started: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def _failure(answer: _Died | Failure) -> Failure:
    if isinstance(answer, Failure):
        return answer
    return Failure(f"its worker died (exit code {answer.code}), also on the second try", transient=True)


class _WorkerProcess:
    """One process and the line to it."""

    def __init__(self, spec: WorkerSpec) -> None:
        # Not forked from this process: a copy of one with threads or CUDA is not safe to use.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self.line, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(spec, far_end), name="shoal-worker")
        self._process.start()
        far_end.close()  # the worker's copy is the last one: its death ends the line
        self._last_words = False

    @property
    def is_fit(self) -> bool:
        """Whether it may be asked; one that said it is not is about to end."""
        return not self._last_words and self._process.is_alive()

    def ask(self, job: Job) -> None:
        try:
            self.line.send(job)
        except OSError:
            return  # it has just died, which `answer` tells

    def answer(self) -> Any:
        """What it answered, or _Died; waits for it."""
        try:
            answer, self._last_words = self.line.recv()
            return answer
        except (EOFError, OSError):
            self._process.join()
            return _Died(self._process.exitcode)

    def kill(self) -> None:
        self._process.kill()

    def end(self, patience: float) -> None:
        """See it out; its line is closed, so it goes by itself when it is done with what it does."""
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


# -- in the worker ------------------------------------------------------------------------------------------------


def _serve(spec: WorkerSpec, line: Any) -> None:
    """Answer jobs until the line ends."""
    _settle_in(spec)
    from evaluation.harness.lm import quiet

    with quiet():  # once and for all: it costs more than a tiny candidate's questions
        _answer_jobs(Worker(spec), line)


def _answer_jobs(at_work: Worker, line: Any) -> None:
    while True:
        try:
            function, arguments = line.recv()
        except (EOFError, OSError):
            return
        answer, lost = _attempt(function, at_work, arguments)
        try:
            line.send((answer, lost))
        except OSError:
            return
        if lost:
            return


def _attempt(function: Callable[..., Any], at_work: Worker, arguments: tuple[object, ...]) -> tuple[Any, bool]:
    """The answer, and whether this process is lost for any other job."""
    import torch

    try:
        return function(at_work, *arguments), False
    except (EvaluationError, MergingError) as error:
        return Failure(str(error)), False
    except Exception as error:  # whatever a candidate's model does, the search goes on without it
        # After an error of the GPU itself the driver refuses all that this process asks of it.
        lost = isinstance(error, torch.AcceleratorError)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Failure(reason, lost or _is_of_memory(error)), lost


def _is_of_memory(error: Exception) -> bool:
    import torch

    # torch tells of the CPU's memory with a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _settle_in(spec: WorkerSpec) -> None:
    """Ctrl-C is the parent's to handle, its death ends this process, and threads keep to this worker's share."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.disable(logging.WARNING)
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(spec.resources.threads)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker is always somebody's child
    connection.wait([parent.sentinel])
    os._exit(1)
