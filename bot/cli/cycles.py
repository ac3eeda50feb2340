"""`shoal status` and `shoal show`: past cycles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.ledgers import open_to_show, read_ledger
from bot.cli.options import AsJson, HomePath, OfWatchlist, PagePart
from bot.cli.output import show_json, show_page, show_result
from bot.errors import ShoalError
from bot.home import find_home

if TYPE_CHECKING:
    from bot.home import Home


@one_line_errors
def status_command(
    watchlist: OfWatchlist = None,
    state: Annotated[str | None, typer.Option(help="Only cycles in this state.", show_default=False)] = None,
    most: Annotated[
        int | None,
        typer.Option("--most", "-n", help="Show at most so many cycles, newest first.", min=1, show_default=False),
    ] = None,
    home: HomePath = None,
    as_json: AsJson = False,
) -> None:
    """Show what the bot does now and is about to do, and list the cycles, newest first.

    Example: `shoal status --watchlist tiny-math -n 5`
    """
    from bot.cli import pages
    from bot.ledger.ledger import State
    from bot.service.facts.bot_facts import filter_cycles, read_facts

    if state is not None and state not in set(State):
        raise ShoalError(f"--state: got {state!r}: is not a state; choose from {', '.join(State)}")
    bot_home = find_home(home)
    facts = read_facts(bot_home, open_to_show(bot_home))
    rows = filter_cycles(facts.cycles, watchlist, state, most)
    if as_json:
        show_json(facts.as_json() | {"cycles": [row.as_json() for row in rows]})
    else:
        show_page(pages.layout_status(facts, rows))


@one_line_errors
def show_command(
    cycle: Annotated[
        str | None,
        typer.Argument(metavar="CYCLE", help="A cycle's id; default: the newest.", show_default=False),
    ] = None,
    watchlist: OfWatchlist = None,
    only: Annotated[
        list[PagePart] | None, typer.Option(help="Show only this part; may be repeated.", show_default=False)
    ] = None,
    home: HomePath = None,
    as_json: AsJson = False,
) -> None:
    """Show one cycle: releases, scores, gate, search, and candidates with reasons.

    Example: `shoal show tiny-math-1 --only scores --only gate`
    """
    from bot.cycle.history import newest_cycle

    bot_home = find_home(home)
    if cycle is None:
        cycle = newest_cycle(read_ledger(bot_home), watchlist)
    elif watchlist is not None:
        raise ShoalError(f"--watchlist: got {watchlist!r} and the cycle {cycle}; give one of the two")
    show_cycle(bot_home, cycle, as_json, tuple(only or PagePart))


def show_cycle(home: Home, cycle: str, as_json: bool, parts: Sequence[PagePart] = tuple(PagePart)) -> None:
    """Print a cycle as `shoal show` does, or some parts of it."""
    from bot.cli import pages
    from bot.cycle.history import read_cycle

    page = read_cycle(read_ledger(home), home, cycle)
    show_result(page, lambda page: pages.layout_cycle(page, parts), as_json=as_json)
