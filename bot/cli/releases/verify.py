"""`shoal verify`: whether a release is what it says it is."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_hub
from bot.cli.options import AsJson, ConvertPickles, Endpoint, HomePath
from bot.cli.output import show_result, terminal_narrator
from bot.errors import ShoalError
from bot.home import find_home

ALL = "all"


@one_line_errors
def verify_command(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="owner/name, owner/name@revision, or a folder.")],
    items: Annotated[str, typer.Option(help="Report items of each task to score again: a number, or all.")] = "50",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the release's own task files, which may contain code.")
    ] = False,
    convert_pickles: ConvertPickles = False,
    home: HomePath = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Build a release again from its pinned sources, score it again, and compare.

    Three verdicts: the files, the tensors, and the scores of the report items. The exit status is 0 only if all three
    were compared and are equal.

    Example: `shoal verify shoal-demo/demo-balanced --trust-remote-code`
    """
    limit = _parse_items(items)
    client, narrator = open_hub(endpoint), terminal_narrator()
    with narrator.bar("loading", None):
        from bot.verify_command.page import verification_page
        from bot.verify_command.verify import Verifier
    found = Verifier(client, find_home(home), narrator, limit, trust_remote_code, convert_pickles).verify(release)
    show_result(found, verification_page, as_json=as_json)
    if not found.is_equal:
        raise typer.Exit(1)


def _parse_items(text: str) -> int | None:
    if text == ALL:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ShoalError(f"--items: got {text!r}: write a number of at least 1, or {ALL}")
    return int(text)
