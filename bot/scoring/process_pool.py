"""An evaluator of worker processes on this machine.

A worker that dies is replaced and its candidate tried once more; one that takes far too long is ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path

from bot.errors import ShoalError
from bot.scoring.evaluator import Failure, NextRound
from bot.scoring.worker import Worker
from bot.scoring.worker_process import Answer, Died, Job, WorkerProcess
from bot.scoring.worker_spec import WorkerSpec
from evaluation.eval_set import AS_TASKS_SAY, EvalItem, EvalSetFacts, ItemResults, OwnDrawing, Sample
from evaluation.splits import Split
from merging.recipes.recipe import Recipe

TRIES = 2
"""A candidate whose worker died is tried once more: the cause may lie elsewhere (memory, a kill)."""

FAREWELL_SECONDS = 2.0
"""Seconds that workers get to end by themselves before they are killed."""


@dataclass(frozen=True)
class TimeLimits:
    """Time limit per candidate where the watchlist sets none. It covers the start of a new worker.

    first: seconds until one candidate has been scored; models, machines and evaluation sets differ too much to guess.
    least, slower: afterwards at least `least` seconds, and `slower` times as long as the slowest candidate so far.
    """

    first: float = 6 * 3600.0
    least: float = 300.0
    slower: float = 10.0

    def seconds(self, slowest: float) -> float:
        """The limit, given the seconds of the slowest candidate so far; 0 if none has been scored."""
        return max(self.least, self.slower * slowest) if slowest else self.first


DEFAULT_LIMITS = TimeLimits()


class ProcessPool:
    """Worker processes on this machine; a context manager, so that they are stopped whatever happens."""

    def __init__(self, spec: WorkerSpec, timeout: float | None = None, limits: TimeLimits = DEFAULT_LIMITS) -> None:
        """timeout: seconds that a candidate may take; None: as `limits` adapt to the slowest so far."""
        self.timeout = timeout
        self._spec = spec
        self._limits = limits
        self._processes: list[WorkerProcess] = []
        self._slowest = 0.0

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop(self._processes)

    @property
    def width(self) -> int:
        """Number of candidates that are scored at the same time."""
        return self._spec.resources.workers

    @property
    def time_limit(self) -> float:
        """Seconds that a candidate may take now."""
        return self._limits.seconds(self._slowest) if self.timeout is None else self.timeout

    def facts(self, split: Split) -> EvalSetFacts:
        """Describe the evaluation set of a split; ShoalError if it cannot be built."""
        answer = self._run_one((Worker.facts, (split,)))
        if isinstance(answer, Failure):
            raise ShoalError(f"the evaluation set of the {split} split cannot be built: {answer.reason}")
        assert isinstance(answer, EvalSetFacts)
        return answer

    def evaluate(self, recipes: Sequence[Recipe], split: Split) -> Iterator[tuple[int, ItemResults | Failure]]:
        """Score recipes on all workers at once."""
        for index, answer in self._run([(Worker.evaluate, (recipe, split)) for recipe in recipes]):
            yield index, self._note(answer)

    def evaluate_rounds(
        self, recipes: Sequence[Recipe], split: Split, first: Sequence[int], next_round: NextRound
    ) -> None:
        """Score recipes on all workers at once, every recipe's rounds in one worker."""

        def follow(index: int, answer: Answer) -> Job | None:
            number = next_round(index, self._note(answer))
            return None if number is None else (Worker.evaluate, (recipes[index], split, number))

        jobs = [(Worker.evaluate, (recipe, split, number)) for recipe, number in zip(recipes, first, strict=True)]
        for _ in self._run(jobs, follow):
            pass

    def evaluate_folder(self, folder: Path, split: Split, own: OwnDrawing = AS_TASKS_SAY) -> ItemResults | Failure:
        """Score a written checkpoint in one worker."""
        answer = self._run_one((Worker.evaluate_folder, (folder, split, own)))
        assert isinstance(answer, ItemResults | Failure)
        return answer

    def ask(self, folder: Path, items: Sequence[EvalItem], own: OwnDrawing = AS_TASKS_SAY) -> Sample | Failure:
        """Ask a written checkpoint in one worker."""
        answer = self._run_one((Worker.ask, (folder, tuple(items), own)))
        assert isinstance(answer, Sample | Failure)
        return answer

    def ask_candidate(self, recipe: Recipe, item: EvalItem) -> Sample | Failure:
        """Ask a recipe's model in one worker."""
        answer = self._run_one((Worker.ask_candidate, (recipe, item)))
        assert isinstance(answer, Sample | Failure)
        return answer

    def _note(self, answer: Answer) -> ItemResults | Failure:
        """Learn from a candidate's answer how long candidates take."""
        assert isinstance(answer, ItemResults | Failure)
        if isinstance(answer, ItemResults):
            self._slowest = max(self._slowest, answer.seconds)
        return answer

    def _run_one(self, job: Job) -> Answer:
        ((_, answer),) = self._run([job])
        return answer

    def _run(
        self, jobs: Sequence[Job], follow: Callable[[int, Answer], Job | None] = lambda _index, _answer: None
    ) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) of jobs in the order in which they finish.

        follow: gives the job that follows an answer; the same worker does it next, under the same index.
        A job whose worker died is tried again after all others: if it was to blame, they are done by then.
        """
        waiting = deque((index, job, 1) for index, job in enumerate(jobs))
        busy: dict[connection.Connection, _Task] = {}
        spent = [0.0] * len(jobs)
        try:
            while waiting or busy:
                self._assign(waiting, busy)
                done = list[tuple[int, Answer]]()
                for task, answer in list(self._collect(busy)):
                    spent[task.index] += task.seconds
                    if isinstance(answer, Died) and task.tries < TRIES:
                        waiting.append((task.index, task.job, task.tries + 1))
                        continue
                    if isinstance(answer, Died | Failure):
                        answer = replace(_failure(answer), seconds=spent[task.index])
                    spent[task.index] = 0.0
                    done.append((task.index, answer))
                    if (job := follow(task.index, answer)) is not None:
                        self._go_on(task, job, waiting, busy)
                # After every job that follows has its worker, and before the caller has the answers: no worker idles.
                self._assign(waiting, busy)
                yield from done
        finally:
            # A caller that stops early leaves busy workers, whose answers would be taken for those of the next jobs.
            self._stop([task.worker for task in busy.values()])

    def _go_on(self, task: _Task, job: Job, waiting: deque[_Waiting], busy: dict[connection.Connection, _Task]) -> None:
        """Give the worker of a task the job that follows; another worker if it cannot take one."""
        if not task.worker.is_usable:
            waiting.appendleft((task.index, job, 1))
            return
        task.worker.send(job)
        busy[task.worker.pipe] = _Task(task.worker, task.index, job, 1, time.monotonic())

    def _assign(self, waiting: deque[_Waiting], busy: dict[connection.Connection, _Task]) -> None:
        """Give waiting jobs to idle workers."""
        while waiting and (worker := self._idle_worker([task.worker for task in busy.values()])):
            index, job, tries = waiting.popleft()
            worker.send(job)
            busy[worker.pipe] = _Task(worker, index, job, tries, time.monotonic())

    def _collect(self, busy: dict[connection.Connection, _Task]) -> Iterator[tuple[_Task, Answer | Died]]:
        """Wait for the next answers and take their tasks out of `busy`; a task past the time limit fails."""
        limit = self.time_limit
        patience = max(0.0, limit - max(task.seconds for task in busy.values()))
        for ready in connection.wait(list(busy), patience):
            assert isinstance(ready, connection.Connection)
            task = busy.pop(ready)
            yield task, task.worker.receive()
        for pipe, task in list(busy.items()):
            if task.seconds >= limit:
                del busy[pipe]
                task.worker.kill()
                self._stop([task.worker])
                yield task, Failure(f"no scores after {limit:.0f} seconds; its worker was ended", transient=True)

    def _idle_worker(self, busy: Sequence[WorkerProcess]) -> WorkerProcess | None:
        """A usable worker that has nothing to do, started if need be; None if all are busy."""
        self._stop([worker for worker in self._processes if worker not in busy and not worker.is_usable])
        idle = [worker for worker in self._processes if worker not in busy]
        if not idle and len(self._processes) < self.width:
            idle = [WorkerProcess(self._spec)]
            self._processes += idle
        return idle[0] if idle else None

    def _stop(self, workers: Sequence[WorkerProcess]) -> None:
        leaving = [worker for worker in workers if worker in self._processes]
        for worker in leaving:
            worker.pipe.close()
            self._processes.remove(worker)
        deadline = time.monotonic() + FAREWELL_SECONDS
        for worker in leaving:
            worker.join(max(0.0, deadline - time.monotonic()))


_Waiting = tuple[int, Job, int]
"""A job that no worker has: its index, the job, and which try it will be."""


@dataclass(frozen=True)
class _Task:
    """A job that a worker has, with its index, which try it is, and when it was sent."""

    worker: WorkerProcess
    index: int
    job: Job
    tries: int
    started: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def _failure(answer: Died | Failure) -> Failure:
    if isinstance(answer, Failure):
        return answer
    return Failure(f"its worker died (exit code {answer.code}), also on the second try", transient=True)
