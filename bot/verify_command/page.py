"""The page of `shoal verify`."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bot.progress import printable
from bot.verify_command.verdicts import Verification


def verification_page(found: Verification) -> RenderableType:
    """The release, and a line for each verdict."""
    name = f"{found.release} (commit {found.sha[:12]})" if found.sha else found.release
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for check in found.checks:
        table.add_row(*(Text(printable(cell)) for cell in (f"  {check.subject}", check.outcome, check.detail)))
    return Group(Text(printable(name), "bold"), table)
