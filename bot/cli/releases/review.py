"""`shoal review`, `publish` and `reject`: a person decides on releases, one by one or all at once."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_cycle_hub
from bot.cli.ledgers import open_ledger, read_ledger
from bot.cli.options import AsJson, CycleEndpoint, CycleId, HomePath, StateName
from bot.cli.output import show_json, show_page, terminal_narrator
from bot.cli.service.state import open_review_state, pull_state
from bot.home import Home, find_home

if TYPE_CHECKING:
    from bot.hub.client import Hub
    from bot.ledger.ledger import Ledger

ReleaseNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="RELEASE...", help="Releases by role or repo; default: all that wait.", show_default=False),
]


@one_line_errors
def review_command(
    cycle: Annotated[
        str | None,
        typer.Argument(
            metavar="CYCLE", help="A cycle's id; default: all cycles with releases that wait.", show_default=False
        ),
    ] = None,
    home: HomePath = None,
    endpoint: CycleEndpoint = None,
    state: StateName = None,
    as_json: AsJson = False,
) -> None:
    """Show the releases that wait for review: scores, folder, address on the Hub, edited files.

    Example: `shoal review tiny-math-1`
    """
    bot_home = find_home(home)
    pull_state(state, endpoint, bot_home)
    _look_up_all(bot_home, endpoint)
    _show_reviews(read_ledger(bot_home), bot_home, endpoint, cycle, as_json)


@one_line_errors
def publish_command(
    cycle: CycleId,
    releases: ReleaseNames = None,
    edited: Annotated[bool, typer.Option("--edited", help="Publish cards as you have edited them.")] = False,
    over_changes: Annotated[
        bool, typer.Option("--over-changes", help="Replace what somebody changed or deleted on the Hub.")
    ] = False,
    home: HomePath = None,
    endpoint: CycleEndpoint = None,
    state: StateName = None,
    as_json: AsJson = False,
) -> None:
    """Upload releases of a cycle that wait for review.

    Files are hashed again before the upload. What was deleted is written again from its recipe.

    Example: `shoal publish tiny-math-1 balanced`
    """
    from bot.lock import hold_home

    bot_home, narrator = find_home(home), terminal_narrator()
    with open_review_state(state, endpoint, bot_home) as keeper:
        ledger = open_ledger(bot_home)  # before the lock, which would make a home that is not there
        client = open_cycle_hub(ledger, cycle, endpoint)
        with hold_home(bot_home):
            with narrator.bar("loading", None):
                from bot.cycle.past.review import publish_releases
            _look_up(ledger, bot_home, client, cycle)
            names = releases or ()
            publish_releases(
                ledger, bot_home, client, cycle, names, narrator,
                edited=edited, over_changes=over_changes, save=keeper.save if keeper else lambda: None,
            )  # fmt: skip
    _show_reviews(ledger, bot_home, endpoint, cycle, as_json)


@one_line_errors
def reject_command(
    cycle: CycleId,
    releases: Annotated[list[str], typer.Argument(metavar="RELEASE...", help="Releases by role or repo.")],
    note: Annotated[str, typer.Option("--note", "-m", help="The reason, in one line.")],
    home: HomePath = None,
    endpoint: CycleEndpoint = None,
    state: StateName = None,
    as_json: AsJson = False,
) -> None:
    """Reject releases: they are not offered again, in this cycle or a later one.

    Example: `shoal reject tiny-math-1 balanced --note "answers in the wrong language"`
    """
    from bot.cycle.past.review import reject_releases
    from bot.lock import hold_home

    bot_home, narrator = find_home(home), terminal_narrator()
    with open_review_state(state, endpoint, bot_home):
        ledger = open_ledger(bot_home)  # before the lock, which would make a home that is not there
        client = open_cycle_hub(ledger, cycle, endpoint)
        with hold_home(bot_home):
            _look_up(ledger, bot_home, client, cycle)
            reject_releases(ledger, bot_home, client, cycle, releases, note, narrator)
            _look_up(ledger, bot_home, client, cycle)
    _show_reviews(ledger, bot_home, endpoint, cycle, as_json)


def _look_up(ledger: Ledger, home: Home, hub: Hub, cycle: str) -> None:
    """Take over what became of a cycle's pull requests on the Hub; says what cannot be looked up."""
    from bot.cycle.past.pull_requests import settle_pull_requests

    narrator = terminal_narrator()
    for fault in settle_pull_requests(ledger, home, hub, cycle, narrator):
        narrator.say(f"warning: {fault}")


def _look_up_all(home: Home, endpoint: str | None) -> None:
    """Take over what became of every pull request, unless the home is busy or cannot be written."""
    from bot.ledger.pull_requests import cycles_with_pull_requests
    from bot.lock import HomeIsBusyError, hold_home

    reader = read_ledger(home)
    cycles = cycles_with_pull_requests(reader, datetime.now(UTC))
    reader.close()
    if not cycles or not os.access(home.ledger, os.W_OK):
        return
    with suppress(HomeIsBusyError), hold_home(home):
        ledger = open_ledger(home)
        for cycle in cycles:
            _look_up(ledger, home, open_cycle_hub(ledger, cycle, endpoint), cycle)
        ledger.close()


def _show_reviews(ledger: Ledger, home: Home, endpoint: str | None, cycle: str | None, as_json: bool) -> None:
    """Print the review of a cycle, or of all cycles that wait."""
    from bot.cli.pages.review import layout_reviews
    from bot.cycle.past.review import review_cycle, waiting_cycles

    cycles = (cycle,) if cycle is not None else waiting_cycles(ledger)
    reviews = [review_cycle(ledger, home, open_cycle_hub(ledger, one, endpoint), one) for one in cycles]
    if as_json:
        show_json({"reviews": [review.as_json() for review in reviews]})
    else:
        show_page(layout_reviews(reviews))
