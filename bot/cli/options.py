"""The arguments and options that commands share, and the values that they are read into."""

from __future__ import annotations

import re
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from bot.errors import ShoalError

_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>B|[KMGT]i?B|)", re.IGNORECASE)
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)},
}

WatchlistPath = Annotated[
    Path, typer.Argument(metavar="WATCHLIST", help="A watchlist (a YAML file); - for standard input.")
]
CycleId = Annotated[str, typer.Argument(metavar="CYCLE", help="A cycle's id, as `shoal status` shows it.")]
OfWatchlist = Annotated[
    str | None, typer.Option("--watchlist", help="Only cycles of the watchlist with this name.", show_default=False)
]


class PagePart(StrEnum):
    """A part of a cycle's page."""

    RELEASES = "releases"
    SCORES = "scores"
    GATE = "gate"
    SEARCH = "search"
    CANDIDATES = "candidates"


HomePath = Annotated[
    Path | None,
    typer.Option("--home", help="The bot's folder; default: SHOAL_HOME, else ~/.shoal.", show_default=False),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="The address of the Hub, for models and for the tasks' data; default: HF_ENDPOINT, else the real Hub.",
        show_default=False,
    ),
]
CycleEndpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint", help="The address of the Hub; default: the one that the cycle ran on.", show_default=False
    ),
]
StateName = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="OWNER/NAME",
        envvar="SHOAL_STATE",
        help="Go on from the state in this private data set repo, and keep it there: for machines without a disk.",
        show_default=False,
    ),
]
ConvertPickles = Annotated[
    bool,
    typer.Option(
        "--convert-pickles", help="Take models whose weights are pickled, and convert them in a confined process."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def parse_repo_name(key: str, text: str) -> str:
    """A repo's name, OWNER/NAME; ShoalError, which names the option or argument `key`, for anything else."""
    if not _REPO.fullmatch(text):
        raise ShoalError(f"{key}: got {text!r}: is not a repo of the Hub; write OWNER/NAME")
    return text


def parse_size(key: str, text: str) -> int:
    """`5GB`, `500MB`, `2GiB` or plain bytes as a number of bytes.

    Raises:
        ShoalError: anything else; the message names the option `key`.
    """
    found = _SIZE.fullmatch(text.strip())
    size = int(Fraction(found["number"]) * _UNITS[found["unit"].upper()]) if found else 0
    if size < 1:
        raise ShoalError(f"{key}: got {text!r}: write a size such as 5GB or 500MB")
    return size
