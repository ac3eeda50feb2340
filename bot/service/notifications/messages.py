"""The texts of notifications: which ends of a cycle a watchlist wants to hear of, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bot.ledger.ledger import Cycle, ReleaseEntry, State
from bot.watchlist.sections import NotificationEvent
from templates import FOLDER

_EVENT_OF_STATE: dict[State, NotificationEvent] = {
    State.PUBLISHED: "published",
    State.REVIEW: "review",
    State.NOTHING: "nothing",
    State.FAILED: "failed",
}
"""Other states need no one: releases that a person wrote or rejected, and cycles that found nothing new."""


@dataclass(frozen=True)
class Message:
    """A notification as plain text."""

    title: str
    body: str


TEST_MESSAGE = Message("shoal: a test", "Notifications of shoal arrive here.")
"""The message of `shoal notify --test`."""


@dataclass(frozen=True)
class CycleEnd:
    """How a cycle ended.

    cycle: None where the watchlist failed before one began. hub_url: address of the Hub. commands: what a person may
    run next, a line each.
    """

    watchlist: str
    event: NotificationEvent
    cycle: str | None
    note: str
    releases: tuple[ReleaseEntry, ...] = ()
    hub_url: str = ""
    commands: tuple[str, ...] = ()


def event_of(cycle: Cycle) -> NotificationEvent | None:
    """The event that a cycle's state is; None for one that nobody has to hear of."""
    return _EVENT_OF_STATE.get(cycle.state)


def render_message(end: CycleEnd) -> Message:
    """The message about a cycle's end; the first line of the template's text is its title."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    text = environment.get_template("notification.txt.j2").render(end=end)
    title, _, body = text.strip().partition("\n")
    return Message(title, body.strip())
