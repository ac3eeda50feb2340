"""The output of commands: progress on standard error, pages and JSON on standard output."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bot.progress import TerminalNarrator

WIDE = 10_000
"""Number of columns where there is no terminal: enough for every row to be one line, for grep and other filters."""


JSON_VERSION_KEY, JSON_VERSION = "shoal_json", 1
"""The first key of all JSON, and the version of the format, which docs/json.md describes. It grows when a key goes or
changes its meaning; a key that is merely new changes nothing."""


@cache
def terminal_narrator() -> TerminalNarrator:
    """Progress on standard error; one for the whole process, so that lines do not cut through a bar."""
    from bot.progress import TerminalNarrator

    return TerminalNarrator(Console(stderr=True))


class Result(Protocol):
    """The result of a command."""

    def as_json(self) -> Mapping[str, object]:
        """The result as plain JSON values."""


R = TypeVar("R", bound=Result)


def show_result(result: R, layout: Callable[[R], RenderableType], *, as_json: bool) -> None:
    """Print a result as JSON, or as the page that `layout` makes of it."""
    if as_json:
        show_json(result.as_json())
    else:
        show_page(layout(result))


def show_page(page: RenderableType) -> None:
    """Print a page: as wide as the terminal, or with whole lines where there is none."""
    if sys.stdout.isatty():
        Console().print(page)
        return
    text = io.StringIO()
    Console(file=text, width=WIDE).print(page)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def show_json(value: Mapping[str, object]) -> None:
    """Print a result as indented JSON, after the version of its format."""
    sys.stdout.write(json.dumps({JSON_VERSION_KEY: JSON_VERSION, **value}, indent=2, ensure_ascii=False) + "\n")
