"""What the bot does now and is about to do: the same facts for the page, `shoal status` and `/metrics`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bot.cycle.history import CycleSummary, list_cycles
from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.ledger.requests import ReviewRequest, waiting_requests
from bot.ledger.run_requests import runs_asked_for
from bot.ledger.webhook_calls import WebhookCall, kept_wakes, newest_call
from bot.search.results import SEARCHING
from bot.service.facts.service_file import ServiceState, read_service
from bot.service.facts.standing import ScheduleSnapshot, explain_watchlist
from bot.service.live import LiveProgress, read_progress
from bot.service.retries import PlannedRetry
from bot.watchlist.load import load_watchlist
from bot.watchlist.schedule.cron import standard_trigger
from bot.watchlist.watchlist import Watchlist


@dataclass(frozen=True)
class BestScore:
    """The best score of a front in one skill."""

    skill: str
    score: float


@dataclass(frozen=True)
class RunningFacts(LiveProgress):
    """What the running cycle is doing, and how far its search has come.

    cycle: its id; None before it has one. front: members of the newest front. best: their best score in each skill, on
    the search split; none before there is a front. budget: candidates that the search may try; None before it is known.
    generation: number of the newest generation whose front is known; 0 before there is one.
    """

    cycle: str | None = None
    front: int = 0
    best: tuple[BestScore, ...] = ()
    budget: int | None = None
    generation: int = 0

    @property
    def candidates(self) -> int | None:
        """Candidates' worth of answers that the search has; None while it does not search."""
        if self.step != SEARCHING or self.budget is None or not self.total:
            return None
        return self.done * self.budget // self.total

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self) | {"candidates": self.candidates, "count": self.count}


@dataclass(frozen=True)
class WatchlistFacts:
    """A watchlist and what comes of it next.

    fault: why its file cannot be used; None if it can. next_run: its next time by its schedule; None without one, or
    while it is paused. is_due: it waits for its turn. retry: when it is tried again, and why. woken: the Hub's call
    that wakes it; None for none. newest: its newest cycle; None before the first. standing: all that in a sentence.
    """

    name: str
    file: str
    fault: str | None
    schedule: str
    next_run: datetime | None
    newest: CycleSummary | None
    paused: bool = False
    is_due: bool = False
    retry: PlannedRetry | None = None
    woken: str | None = None
    standing: str = ""


@dataclass(frozen=True)
class BotFacts:
    """What the bot does now and is about to do.

    service: what `shoal serve` has in hand; None where none runs. waiting: ids of cycles with releases that wait for
    review. requests: decisions that were asked for and are not carried out yet. call: the Hub's last call; None before
    the first. cycles: all, newest first.
    """

    running: RunningFacts | None
    service: ServiceState | None
    watchlists: tuple[WatchlistFacts, ...]
    waiting: tuple[str, ...]
    requests: tuple[ReviewRequest, ...]
    call: WebhookCall | None
    cycles: tuple[CycleSummary, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values, without the cycles."""
        return {
            "running": self.running.as_json() if self.running else None,
            "service": self._service_json(),
            "watchlists": [_watchlist_json(line) for line in self.watchlists],
            "waiting": list(self.waiting),
            "requests": [
                {"kind": str(one.kind), "cycle": one.cycle, "role": one.role, "who": one.who}
                | {"made": one.made.isoformat()}
                for one in self.requests
            ],
            "last_call": self.call.as_json() if self.call else None,
        }

    def _service_json(self) -> dict[str, object] | None:
        service = self.service
        if service is None:
            return None
        return {
            "started": service.started.isoformat(),
            "held": service.held or None,
            "schedule_fault": service.schedule_fault or None,
            "lost_notifications": service.lost_notifications,
        }


def read_facts(home: Home, ledger: Ledger | None, watchlists: Sequence[Path] = ()) -> BotFacts:
    """The facts as they are now; nothing is written.

    ledger: None where there is none yet. watchlists: files to show beside those of the service and of past cycles.
    """
    running, cycles = read_running(home, ledger), list_cycles(ledger) if ledger else ()
    cycles = tuple(_with_progress(one, running) for one in cycles)
    busy, schedule = running.watchlist if running else None, read_schedule(home, ledger)
    return BotFacts(
        running=running,
        service=read_service(home),
        watchlists=read_watchlists(home, ledger, cycles, busy, schedule, watchlists),
        waiting=tuple(one.cycle.id for one in reversed(cycles) if one.cycle.state is State.REVIEW),
        requests=waiting_requests(ledger) if ledger else (),
        call=newest_call(ledger) if ledger else None,
        cycles=cycles,
    )


def read_watchlists(
    home: Home,
    ledger: Ledger | None,
    cycles: Sequence[CycleSummary],
    busy: str | None,
    schedule: ScheduleSnapshot,
    paths: Sequence[Path] = (),
) -> tuple[WatchlistFacts, ...]:
    """The watchlists of files, of the service and of past cycles, and what comes of each next.

    cycles: all, newest first. busy: the name of the watchlist whose cycle runs; None if none does. paths: the files.
    """
    service, runs = read_service(home), read_planned_runs(home)
    woken = {wake.watchlist: wake.cause for wake in (kept_wakes(ledger) if ledger else ())}
    newest = {one.cycle.watchlist: one for one in reversed(cycles)}
    files = [*paths, *map(Path, service.files.values() if service else ())]
    lines = [_read_line(path, newest) for path in dict.fromkeys(path.absolute() for path in files)]
    named = {line.name for line in lines}
    lines += [WatchlistFacts(name, "", None, "", None, one) for name, one in newest.items() if name not in named]
    return tuple(
        replace(_with_plans(line, service, runs, woken), standing=_explain(line, busy, schedule)) for line in lines
    )


def read_schedule(home: Home, ledger: Ledger | None) -> ScheduleSnapshot:
    """What the schedule of a `shoal serve` is about to do, as any process can read it."""
    service, runs = read_service(home), read_planned_runs(home)
    paused = frozenset(name for name, moment in runs.items() if moment is None)
    if service is None:
        return ScheduleSnapshot(paused=paused)
    return ScheduleSnapshot(
        names=frozenset(service.files),
        paused=paused,
        waiting=service.due,
        retries={name: retry.at for name, retry in service.retries.items()},
        asked=runs_asked_for(ledger) if ledger else {},
    )


@dataclass(frozen=True)
class SearchSoFar:
    """How far the running cycle's search has come; fields as in `RunningFacts`."""

    cycle: str | None = None
    front: int = 0
    best: tuple[BestScore, ...] = ()
    budget: int | None = None
    generation: int = 0


def read_running(home: Home, ledger: Ledger | None) -> RunningFacts | None:
    """What the home's cycle is doing, and how far its search has come; None if none runs."""
    progress = read_progress(home)
    if progress is None:
        return None
    so_far = read_search(ledger, progress.watchlist) if ledger else SearchSoFar()
    return RunningFacts(**vars(progress), **vars(so_far))


def read_search(ledger: Ledger, watchlist: str) -> SearchSoFar:
    """How far the search of a watchlist's running cycle has come."""
    running = next((one for one in ledger.cycles(watchlist) if one.state is State.RUNNING), None)
    if running is None:
        return SearchSoFar()
    kept, front = ledger.kept(running.id, "watchlist", Watchlist), ledger.front(running.id)
    columns = zip(*(scores for _, scores in front), strict=True)
    best = zip(kept.skill_names, map(max, columns), strict=True) if kept and front else ()
    scores = tuple(BestScore(skill, score) for skill, score in best)
    budget = kept.search.budget.candidates if kept else None
    return SearchSoFar(running.id, len(front), scores, budget, ledger.newest_generation(running.id))


def filter_cycles(
    cycles: Sequence[CycleSummary], watchlist: str | None = None, state: str | None = None, most: int | None = None
) -> tuple[CycleSummary, ...]:
    """Those of a watchlist, in a state, and at most so many, where that is asked."""
    found = [
        one
        for one in cycles
        if watchlist in (None, one.cycle.watchlist) and (state is None or one.cycle.state == state)
    ]
    return tuple(found[:most])


def read_planned_runs(home: Home) -> dict[str, datetime | None]:
    """Watchlist's name → its next run in the stored schedule, None while it is paused."""
    try:
        address = f"{home.schedule.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            rows = connection.execute("SELECT id, next_run_time FROM apscheduler_jobs").fetchall()
    except sqlite3.Error:  # there is no schedule, or it cannot be read; `ServiceState` says why
        return {}
    return {name: None if moment is None else datetime.fromtimestamp(moment, UTC) for name, moment in rows}


def _with_progress(summary: CycleSummary, running: RunningFacts | None) -> CycleSummary:
    """The cycle that runs, with what it does as its note."""
    if running is None or summary.cycle.id != running.cycle:
        return summary
    return replace(summary, cycle=replace(summary.cycle, note=running.describe()))


def _explain(line: WatchlistFacts, busy: str | None, schedule: ScheduleSnapshot) -> str:
    newest = line.newest.cycle if line.newest else None
    return explain_watchlist(line.name, line.fault, newest, busy, schedule)


def _with_plans(
    line: WatchlistFacts,
    service: ServiceState | None,
    runs: Mapping[str, datetime | None],
    woken: Mapping[str, str],
) -> WatchlistFacts:
    """A watchlist with its plans in the service."""
    if service is None or line.name not in service.files:
        return replace(line, paused=line.name in runs and runs[line.name] is None, woken=woken.get(line.name))
    return replace(
        line,
        next_run=runs.get(line.name, line.next_run),
        paused=line.name in runs and runs[line.name] is None,
        is_due=line.name in service.due,
        retry=service.retries.get(line.name),
        woken=woken.get(line.name),
    )


def _read_line(path: Path, newest: Mapping[str, CycleSummary]) -> WatchlistFacts:
    try:
        watchlist = load_watchlist(path)
    except (ShoalError, OSError) as error:
        return WatchlistFacts(path.stem, str(path), str(error), "", None, None)
    return WatchlistFacts(watchlist.name, str(path), None, *describe_schedule(watchlist), newest.get(watchlist.name))


def describe_schedule(watchlist: Watchlist) -> tuple[str, datetime | None]:
    """(a schedule in words, its next time)."""
    schedule = watchlist.schedule
    if schedule is None:
        return "by hand", None
    trigger = standard_trigger(schedule.cron, schedule.timezone)
    next_run: datetime | None = trigger.get_next_fire_time(None, datetime.now(UTC))
    return f"{schedule.cron} {schedule.timezone}", next_run.astimezone(UTC) if next_run else None


def _watchlist_json(line: WatchlistFacts) -> dict[str, object]:
    return {
        "name": line.name,
        "file": line.file or None,
        "fault": line.fault,
        "schedule": line.schedule or None,
        "next_run": line.next_run.isoformat() if line.next_run else None,
        "paused": line.paused,
        "due": line.is_due,
        "retry": {"at": line.retry.at.isoformat(), "reason": line.retry.reason} if line.retry else None,
        "woken": line.woken,
        "standing": line.standing,
        "newest": line.newest.cycle.id if line.newest else None,
    }
