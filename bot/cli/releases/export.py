"""`shoal export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_cycle_hub
from bot.cli.ledgers import open_ledger
from bot.cli.options import AsJson, CycleEndpoint, CycleId, HomePath
from bot.cli.output import show_result, terminal_narrator
from bot.home import find_home
from bot.progress import printable

if TYPE_CHECKING:
    from bot.cycle.past.export import Exported


@one_line_errors
def export_command(
    cycle: CycleId,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="The member's number, or the beginning of its digest.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder; with --recipe-only the new file.")],
    recipe_only: Annotated[
        bool, typer.Option("--recipe-only", help="Write only the recipe, as a file for `shoal merge` and mergekit.")
    ] = False,
    home: HomePath = None,
    endpoint: CycleEndpoint = None,
    as_json: AsJson = False,
) -> None:
    """Write any member of a cycle's front as a model, whether it was released or not.

    `shoal show` lists the front with numbers and digests. Sources that the home no longer has are fetched again.

    Example: `shoal export tiny-math-1 3 ./third`
    """
    bot_home, narrator = find_home(home), terminal_narrator()
    ledger = open_ledger(bot_home)
    client = open_cycle_hub(ledger, cycle, endpoint)
    with narrator.bar("loading", None):
        from bot.cycle.past.export import export_member, export_recipe
    if recipe_only:
        exported = export_recipe(ledger, bot_home, client, cycle, recipe, out)
    else:
        exported = export_member(ledger, bot_home, client, cycle, recipe, out, narrator)
    show_result(exported, describe_export, as_json=as_json)


def describe_export(exported: Exported) -> Text:
    """The line that the command prints."""
    what = f"front member {exported.number} of {exported.cycle}, recipe {exported.recipe[:12]}"
    written = f"{len(exported.files)} files" if exported.files else "as a recipe"
    return Text(printable(f"{exported.target}: {what}, {written}"))  # in a path, [a] is no markup
