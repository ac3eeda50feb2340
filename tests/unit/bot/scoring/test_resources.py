"""How many workers, with how many threads each, fit a machine."""

from __future__ import annotations

import os

import pytest

from bot.scoring.resources import (
    SHARED_OVERHEAD,
    WORKER_OVERHEAD,
    Machine,
    Resources,
    choose_batch_size,
    count_usable_cores,
    inspect_machine,
    plan_resources,
)
from bot.watchlist.sections import WorkersSection as Asked
from evaluation.suites import DRAWN, WRITTEN

MODEL = 2 * 2**30
GIB = 2**30


@pytest.mark.parametrize(
    ("machine", "asked", "resources"),
    [
        (Machine(8, 100 * GIB), Asked(), Resources(8, 1, "cpu", 16)),
        (Machine(8, 7 * GIB), Asked(), Resources(2, 4, "cpu", 16)),  # a worker needs 2.5 GiB and its overhead
        (
            Machine(2, GIB),
            Asked(),
            Resources(1, 2, "cpu", 16),
        ),  # one even where it may not fit: the person asked for it
        (Machine(8, 100 * GIB), Asked(count=3), Resources(3, 2, "cpu", 16)),
        (Machine(8, 100 * GIB), Asked(count=16, threads=1, batch_size=7), Resources(16, 1, "cpu", 7)),
        (Machine(8, 100 * GIB, 1), Asked(), Resources(1, 8, "cuda", 16)),
        (Machine(8, 100 * GIB, 1), Asked(device="cpu"), Resources(8, 1, "cpu", 16)),
    ],
)
def test_resources_fit_the_machine_and_what_was_asked(machine: Machine, asked: Asked, resources: Resources) -> None:
    assert plan_resources(machine, MODEL, asked, WRITTEN) == resources


def test_a_worker_is_counted_with_its_overhead_and_batches_shrink_with_the_model() -> None:
    tight = Machine(8, SHARED_OVERHEAD + 4 * WORKER_OVERHEAD)
    assert plan_resources(tight, 1000, Asked(), WRITTEN).workers == 3  # a fourth would not fit, small as its model is
    assert [choose_batch_size(size, WRITTEN) for size in (10**6, GIB, 14 * GIB)] == [64, 16, 4]
    assert [choose_batch_size(size, DRAWN) for size in (10**6, GIB, 14 * GIB)] == [64, 4, 1]


def test_the_cores_are_those_of_this_process() -> None:
    assert count_usable_cores() == len(os.sched_getaffinity(0))


def test_all_cores_are_used_where_the_system_does_not_tell_which_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert inspect_machine("cpu").cores == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert inspect_machine("cpu").cores == 1
