"""The page of `shoal status`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from bot.cli.pages.cycle import Rows
from bot.cycle.history import CycleSummary
from bot.progress import printable
from bot.service.facts.bot_facts import BotFacts, RunningFacts, WatchlistFacts


def layout_status(facts: BotFacts, rows: Sequence[CycleSummary]) -> RenderableType:
    """What the bot does now and is about to do, and then the cycles `rows`."""
    lines = [Text(printable(line)) for line in (*_describe_now(facts), *_describe_next(facts))]
    if not rows:
        return Group(*lines, Text("no cycle yet: shoal run WATCHLIST"))
    cells = [(row.cycle.id, _minute(row.cycle.started), row.cycle.state, row.cycle.note) for row in rows]
    cycles = Rows(("cycle", "started (UTC)", "state", "note"), cells)
    return Group(*lines, Text(""), cycles) if lines else cycles


def _describe_now(facts: BotFacts) -> Iterator[str]:
    """What runs, and what keeps it from running."""
    if facts.running is not None:
        yield _describe_running(facts.running)
    service = facts.service
    if service is not None:
        yield f"shoal serve: runs since {_minute(service.started)} UTC, with {_count(len(service.files), 'watchlist')}"
        yield from (f"shoal serve: {fault}" for fault in (service.held, service.schedule_fault) if fault)
        if service.lost_notifications:
            yield f"shoal serve: {_count(service.lost_notifications, 'notification')} did not arrive"


def _describe_running(running: RunningFacts) -> str:
    """`small-1 runs: searching: 120/960, …; 7 on the front, best math 0.710, cross 0.540`."""
    best = ", ".join(f"{one.skill} {one.score:.3f}" for one in running.best)
    front = f"; {running.front} on the front, best {best}" if best else ""
    return f"{running.cycle or running.watchlist} runs: {running.describe()}{front}"


def _describe_next(facts: BotFacts) -> Iterator[str]:
    """What each watchlist of the service waits for, and what waits for a person or for the home."""
    for line in facts.watchlists:
        if facts.service is not None and line.name in facts.service.files:
            yield f"{line.name}: {_describe_plans(line)}"
    for cycle in facts.waiting:
        yield f"{cycle}: releases wait for review: shoal review {cycle}"
    if facts.call is not None:
        yield f"the Hub called last at {_minute(facts.call.received)} UTC: {facts.call.event}: {facts.call.decision}"
    for request in facts.requests:
        yield f"{request.cycle}, {request.role}: {request.who} asked to {request.kind} it; done when no cycle runs"


def _describe_plans(line: WatchlistFacts) -> str:
    parts = [" ".join(line.standing.split())]
    if line.woken is not None:
        parts.append(f"Woken by {line.woken}.")
    if line.next_run is not None:
        parts.append(f"Next at {_minute(line.next_run)} UTC.")
    return " ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
