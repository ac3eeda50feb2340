"""`shoal clean`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.options import AsJson, HomePath, parse_size
from bot.cli.output import show_result
from bot.errors import ShoalError
from bot.home import Home, find_home

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bot.cycle.past.clean import Cleaning, CleaningLimits


@one_line_errors
def clean_command(
    keep_days: Annotated[float, typer.Option(help="Keep what was used within so many days.", min=0)] = 30,
    max_bytes: Annotated[
        str | None,
        typer.Option(help="Then delete more, longest unused first, until the home is this small.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    home: HomePath = None,
    as_json: AsJson = False,
) -> None:
    """Delete downloads, published and rejected releases, and reports that are no longer needed.

    Without --yes it lists them and asks first. What a running, interrupted or failed cycle needs is kept, and so is
    what waits for review. The ledger, and releases of watchlists that publish nothing, are never touched.

    Example: `shoal clean --keep-days 7 --max-bytes 50GB`
    """
    from bot.cycle.past.clean import CleaningLimits, plan_cleaning

    bot_home, now = find_home(home), datetime.now(UTC)
    if not bot_home.folder.is_dir():
        raise ShoalError(f"{bot_home.folder}: there is no such home; give another --home")
    limits = CleaningLimits(keep_days, None if max_bytes is None else parse_size("--max-bytes", max_bytes))
    if yes:
        show_result(_delete(bot_home, limits, now), _layout, as_json=as_json)
        return
    planned = plan_cleaning(bot_home, limits, now)
    show_result(planned, _layout, as_json=as_json)
    if planned.deleted and not as_json and sys.stdin.isatty() and typer.confirm("Delete these?", err=True):
        show_result(_delete(bot_home, limits, now), _layout, as_json=False)


def _delete(home: Home, limits: CleaningLimits, now: datetime) -> Cleaning:
    """Choose again under the lock, because a cycle may have begun since, and delete."""
    from bot.cycle.past.clean import delete_items, plan_cleaning
    from bot.lock import hold_home

    with hold_home(home):
        return delete_items(plan_cleaning(home, limits, now))


def _layout(cleaning: Cleaning) -> RenderableType:
    from rich.console import Group
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("size", "last used", "what", "where"):
        table.add_column(column, overflow="fold")
    for item in cleaning.deleted:
        table.add_row(decimal(item.size), f"{item.used:%Y-%m-%d}", item.kind, Text(str(item.path)))
    total = f"{len(cleaning.deleted)} items, {decimal(cleaning.bytes)}"
    ending = f"deleted: {total}" if cleaning.done else f"to delete: {total}; --yes deletes them"
    lines = [Text(ending if cleaning.deleted else "nothing to delete")]
    if cleaning.excess:
        lines.append(Text(f"the home stays {decimal(cleaning.excess)} above --max-bytes: the rest is needed"))
    return Group(*([table] if cleaning.deleted else []), *lines)
