"""What a person sees while the bot works: one line a stage, and a bar with an estimate where work can be counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int, str], None]
"""Called with how many units were done, and a few words on where the work stands ("" leaves them as they are)."""


class Narrator(Protocol):
    """Where the bot tells how far it is."""

    def say(self, text: str) -> None:
        """One finished step, in a line."""

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Advance]:
        """Countable work under way; `total` in its own units, None where it is not known."""


class TerminalNarrator:
    """Tells it on a terminal; on a pipe the bars are left out and the lines stay."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        # What is said may hold names from the Hub: never read them as markup.
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Advance]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(title, total=total, words="")

            def advance(done: int, words: str = "") -> None:
                progress.advance(task, done)
                if words:
                    progress.update(task, words=escape(words))

            yield advance


class SilentNarrator:
    """Tells nobody: for callers that only want what comes out."""

    def say(self, text: str) -> None:
        """Say nothing."""

    @contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002 - the protocol's names
        yield _ignore


def _ignore(_done: int, _words: str = "") -> None:
    """Advance nothing."""
