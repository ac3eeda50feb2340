"""A worker process: the parent's handle on it, and the code that runs in it.

Each worker has a pipe of its own and shares no lock with the others, so it can be killed at any moment without harm to
them. (A pool with one queue for all cannot: a worker that dies while it holds the queue's lock takes the lock along.)
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection

from bot.scoring.evaluator import Failure
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from evaluation.errors import EvaluationError
from evaluation.eval_set import EvalSetFacts, ItemResults, Sample
from evaluation.suites import SUITE_MODULES
from merging.errors import MergingError
from merging.kinds import KINDS

KERNELS = "merging.kernels.sparsify"
"""Merge methods import kernels when they merge a tensor."""

Job = tuple[Callable[..., EvalSetFacts | ItemResults | Sample], tuple[object, ...]]
"""A method of Worker and its arguments."""

Answer = EvalSetFacts | ItemResults | Sample | Failure


@dataclass(frozen=True)
class Died:
    """A worker ended before it answered."""

    code: int | None


class WorkerProcess:
    """One process and the pipe to it."""

    def __init__(self, spec: WorkerSpec) -> None:
        # A fork server, not a fork of this process: a copy of a process with threads or CUDA is not safe to use.
        context = multiprocessing.get_context("forkserver")
        # Imported once in the fork server, because these imports dominate a worker's start. None of them starts threads
        # that a fork would break. A server that runs already has what it was started for.
        context.set_forkserver_preload([SUITE_MODULES[spec.kind], *KINDS[spec.kind].live_modules, KERNELS])
        self.pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(spec, far_end), name="shoal-worker")
        self._process.start()
        far_end.close()  # the worker holds the only other copy, so its death closes the pipe
        self._is_lost = False

    @property
    def is_usable(self) -> bool:
        """Whether it can take a job; one that reported itself lost is about to end."""
        return not self._is_lost and self._process.is_alive()

    def send(self, job: Job) -> None:
        """Give it a job."""
        try:
            self.pipe.send(job)
        except OSError:
            return  # it has just died, which `receive` reports

    def receive(self) -> Answer | Died:
        """Wait for its answer."""
        answer: Answer
        try:
            answer, self._is_lost = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return Died(self._process.exitcode)
        return answer

    def kill(self) -> None:
        """Kill it at once."""
        self._process.kill()

    def join(self, patience: float) -> None:
        """Wait for its end, and kill it after `patience` seconds. Its pipe is closed, so it ends after its job."""
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


# -- in the worker ------------------------------------------------------------------------------------------------


def _serve(spec: WorkerSpec, pipe: connection.Connection) -> None:
    """Answer jobs until the pipe closes."""
    _prepare_process(spec)
    from evaluation.harness.process_state import quiet

    with quiet():  # once for all jobs: entering it takes longer than scoring a tiny candidate
        _answer_jobs(Worker(spec), pipe)


def _answer_jobs(worker: Worker, pipe: connection.Connection) -> None:
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        answer, is_lost = _run_job(method, worker, arguments)
        try:
            pipe.send((answer, is_lost))
        except OSError:
            return
        if is_lost:
            return


def _run_job(
    method: Callable[..., EvalSetFacts | ItemResults | Sample], worker: Worker, arguments: tuple[object, ...]
) -> tuple[Answer, bool]:
    """The answer, and whether this process can no longer take jobs."""
    import torch

    try:
        return method(worker, *arguments), False
    except (EvaluationError, MergingError) as error:
        return Failure(str(error)), False
    except Exception as error:  # whatever a candidate's model does, the search goes on without it
        # After an error of the GPU itself the driver refuses everything that this process asks of it.
        is_lost = isinstance(error, torch.AcceleratorError)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Failure(reason, is_lost or _is_memory_error(error)), is_lost


def _is_memory_error(error: Exception) -> bool:
    import torch

    # torch raises a plain RuntimeError when the CPU's memory is full.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _prepare_process(spec: WorkerSpec) -> None:
    """Leave Ctrl-C to the parent, end with it, and keep to this worker's share of threads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # to `shoal serve` it means: read the watchlists again
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.disable(logging.WARNING)
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(spec.resources.threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker is always a child process
    connection.wait([parent.sentinel])
    os._exit(1)
