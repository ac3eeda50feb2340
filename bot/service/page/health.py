"""The health of the bot, for `/healthz` and `/metrics`."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from threading import Lock

from bot.errors import ShoalError, failure_reason
from bot.home import Home
from bot.ledger.ledger import Cycle, State
from bot.ledger.reading import open_to_read
from bot.service.facts.bot_facts import RunningFacts, read_running
from bot.service.facts.disk import describe_full_disk, free_bytes
from bot.service.facts.service_file import ServiceState, read_service
from bot.service.page.views import Desk

SUCCESSES = (State.REVIEW, State.PUBLISHED, State.REJECTED, State.WRITTEN, State.NOTHING, State.UNCHANGED)
"""The states of cycles that ended well, whatever they found."""

RECENT_SECONDS = 1.0

LOCK_SECONDS = 5
"""Seconds that the ledger may be locked before that is a fault."""


@dataclass(frozen=True)
class Health:
    """Whether the bot can work.

    faults: what is wrong, a line each; empty when all is well. scheduler: whether the schedule runs; None where this
    process has none. step: what the running cycle does; empty while none runs. candidates: how many its search has
    scored; None while none searches. cycle_age: seconds since the newest cycle ended, None before the first.
    success_ages: by watchlist, seconds since its newest cycle that ended well. cycles: number of cycles by state.
    lost_notifications: messages that did not arrive since the service started; None where none runs.
    """

    faults: tuple[str, ...]
    scheduler: bool | None
    running: bool
    step: str
    candidates: int | None
    cycle_age: float | None
    success_ages: Mapping[str, float]
    free_bytes: int
    cycles: Mapping[str, int]
    lost_notifications: int | None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {"well": self.is_well} | asdict(self)


def check_health(
    desk: Desk, scheduler_runs: Callable[[], bool] | None, now: datetime, *, only_reads: bool = False
) -> Health:
    """Check the schedule, the ledger and the disk; nothing is written.

    scheduler_runs: whether the schedule of this process is alive; None where it has none. only_reads: this process
    writes nothing, and so need not be able to.
    """
    service, scheduler = read_service(desk.home), None if scheduler_runs is None else scheduler_runs()
    faults = list(_find_schedule_faults(service, scheduler))
    cycles, running = tuple[Cycle, ...](), None
    try:
        cycles, running = _read_ledger(desk.home)
    except (ShoalError, OSError) as error:
        faults.append(failure_reason(error))
    unwritable = None if only_reads or faults else describe_unwritable(desk.home)
    faults += [fault for fault in (unwritable, describe_full_disk(desk.home)) if fault is not None]
    return Health(
        faults=tuple(faults),
        scheduler=scheduler,
        running=running is not None,
        step=running.step if running else "",
        candidates=running.candidates if running else None,
        cycle_age=min(_ages(cycles, now), default=None),
        success_ages=_success_ages(cycles, now),
        free_bytes=free_bytes(desk.home),
        cycles=dict(Counter(str(cycle.state) for cycle in cycles)),
        lost_notifications=service.lost_notifications if service else None,
    )


def _read_ledger(home: Home) -> tuple[tuple[Cycle, ...], RunningFacts | None]:
    """The cycles, and the one that runs."""
    if not home.ledger.exists():
        return (), read_running(home, None)
    with closing(open_to_read(home.ledger)) as ledger:
        return ledger.cycles(), read_running(home, ledger)


class RecentHealth:
    """Checks at most once a second: strangers may ask any number of times, and a check takes the ledger's lock."""

    def __init__(self, check: Callable[[], Health], clock: Callable[[], float] = time.monotonic) -> None:
        self._check = check
        self._clock = clock
        self._checking = Lock()
        self._last: tuple[float, Health] | None = None

    def __call__(self) -> Health:
        """The health now, or less than a second ago."""
        with self._checking:
            if self._last is None or self._clock() - self._last[0] >= RECENT_SECONDS:
                self._last = self._clock(), self._check()
            return self._last[1]


def describe_unwritable(home: Home) -> str | None:
    """Why the ledger cannot be written, in a line; None if it can be, or could be made. Nothing is written."""
    if not home.ledger.exists():
        above = next(path for path in (home.folder, *home.folder.parents) if path.exists())
        return None if os.access(above, os.W_OK) else f"{above}: cannot be written; check its rights"
    try:
        # The lock of a write, which SQLite gives nobody who may not write.
        with closing(sqlite3.connect(home.ledger, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return f"{home.ledger}: the ledger cannot be written ({error}); check the file's rights and the disk"
    return None


def _find_schedule_faults(service: ServiceState | None, scheduler: bool | None) -> Iterator[str]:
    if scheduler is False:
        yield "the schedule has stopped; restart the service"
    if scheduler is not None and service is not None and service.schedule_fault:
        yield service.schedule_fault


def _ages(cycles: tuple[Cycle, ...], now: datetime) -> list[float]:
    """Seconds since each cycle ended; 0 where the clock was set back since."""
    return [max(0.0, (now - cycle.finished).total_seconds()) for cycle in cycles if cycle.finished is not None]


def _success_ages(cycles: tuple[Cycle, ...], now: datetime) -> dict[str, float]:
    watchlists = {cycle.watchlist for cycle in cycles if cycle.state in SUCCESSES}
    return {
        name: min(_ages(tuple(one for one in cycles if one.watchlist == name and one.state in SUCCESSES), now))
        for name in sorted(watchlists)
    }


# -- Prometheus' text format ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """A metric: its name and what it is, and its samples: the value of a label, None for none, and the number."""

    name: str
    text: str
    samples: tuple[tuple[str | None, float], ...]
    label: str = ""

    def render(self) -> Iterator[str]:
        """Its lines."""
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} gauge"
        for value, number in self.samples:
            labels = "" if value is None else f'{{{self.label}="{_escape(value)}"}}'
            yield f"{self.name}{labels} {number:.15g}"


def render_metrics(health: Health, *, is_open: bool = True) -> str:
    """The health in Prometheus' text format, version 0.0.4. is_open: else only whether all is well."""
    metrics = [Metric("shoal_well", "1 if nothing is wrong", ((None, health.is_well),))]
    if is_open:
        metrics += _list_metrics(health)
    return "".join(f"{line}\n" for metric in metrics for line in metric.render())


def _list_metrics(health: Health) -> Iterator[Metric]:
    def single(name: str, text: str, value: float) -> Metric:
        return Metric(name, text, ((None, value),))

    yield single("shoal_cycle_running", "1 while a cycle runs", health.running)
    if health.running:
        yield Metric("shoal_step", "1 for what the running cycle does", ((health.step, 1),), "step")
    if health.candidates is not None:
        yield single("shoal_candidates_done", "candidates that the running search has scored", health.candidates)
    yield single("shoal_disk_free_bytes", "bytes free on the home's disk", health.free_bytes)
    if health.scheduler is not None:
        yield single("shoal_scheduler_running", "1 while the schedule runs", health.scheduler)
    if health.lost_notifications is not None:
        text = "notifications that did not arrive since the service started"
        yield single("shoal_notifications_failed", text, health.lost_notifications)
    if health.cycle_age is not None:
        yield single("shoal_last_cycle_age_seconds", "seconds since the newest cycle ended", round(health.cycle_age))
    ages = tuple((name, round(age)) for name, age in health.success_ages.items())
    text = "seconds since a watchlist's newest cycle that ended well"
    yield Metric("shoal_last_success_age_seconds", text, ages, "watchlist")
    counts = tuple((str(state), health.cycles.get(str(state), 0)) for state in State)
    yield Metric("shoal_cycles", "number of cycles by state", counts, "state")


def _escape(value: str) -> str:
    """The value of a label."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
