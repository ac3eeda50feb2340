"""Progress: a line for each finished step, and a bar with an estimate where work can be counted."""

from __future__ import annotations

import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

Advance = Callable[[int, str], None]
"""Called with the number of units done, and a few words on the current step ("" keeps the earlier ones)."""

SecondsAllowed = Callable[[], float]
"""The seconds that work may still take, asked whenever an estimate is shown."""

WINDOW_SECONDS, WINDOW_STEPS = 30.0, 20
"""An estimate uses the longer of the two: bytes arrive often, scores of a large model do not."""

QUIET_SECONDS = 60.0
"""Seconds between progress lines where there is no terminal."""


class Narrator(Protocol):
    """Shows progress."""

    def say(self, text: str) -> None:
        """Report a finished step in a line."""

    @contextmanager
    def bar(
        self, title: str, total: int | None, *, in_bytes: bool = False, seconds_allowed: SecondsAllowed | None = None
    ) -> Iterator[Advance]:
        """Show work in progress; `total` in its own units, None if it is not known.

        seconds_allowed: the seconds after which the work ends in any case; None where nothing limits it.
        """


class Pace:
    """Estimates the time left from the newest steps.

    Only from those, because a resumed search first gets scores from the ledger, which take no time.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, seconds_allowed: SecondsAllowed | None = None
    ) -> None:
        """seconds_allowed: no estimate is longer than this, if it is given."""
        self._clock = clock
        self._allowed = seconds_allowed
        self._done = 0
        self._marks = deque([(clock(), 0)])

    def step(self, done: int) -> None:
        """Count `done` more units (negative where work has to be done again)."""
        now = self._clock()
        self._done += done
        self._marks.append((now, self._done))
        while len(self._marks) > WINDOW_STEPS + 1 and self._marks[1][0] < now - WINDOW_SECONDS:
            self._marks.popleft()

    def seconds_left(self, total: int) -> float | None:
        """Seconds until `total` units are done; None while there is nothing to estimate from."""
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        if after <= before:
            return None
        needed = (total - after) * (last - first) / (after - before) - (self._clock() - last)
        return max(0.0, needed if self._allowed is None else min(needed, self._allowed()))


class TerminalNarrator:
    """Progress on a terminal; elsewhere there are no bars, and long work prints a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Print a line, wrapped between words on a terminal and whole elsewhere."""
        shown = printable(text)
        if self._console.is_terminal:
            shown = "\n".join(wrapped(line, self._console.width) for line in shown.split("\n"))
        self._console.print(shown, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(
        self, title: str, total: int | None, *, in_bytes: bool = False, seconds_allowed: SecondsAllowed | None = None
    ) -> Iterator[Advance]:
        """Show a bar while the block runs."""
        live = self._console.is_terminal
        pace, last_line = Pace(seconds_allowed=seconds_allowed), time.monotonic()
        with Progress(
            *_columns(total), console=self._console, transient=True, disable=not live, expand=True, refresh_per_second=5
        ) as shown:
            task = shown.add_task(title, total=total, words="", pace=pace, in_bytes=in_bytes)

            def advance(done: int, words: str = "") -> None:
                nonlocal last_line
                if done:
                    pace.step(done)
                    shown.advance(task, done)
                if words:
                    shown.update(task, words=printable(words))
                if not live and time.monotonic() - last_line > QUIET_SECONDS:
                    last_line = time.monotonic()
                    self.say(_one_line(shown.tasks[0]))

            yield advance


def printable(text: str) -> str:
    """The text without control characters, with which text from the Hub could steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


def wrapped(line: str, width: int) -> str:
    """A line folded between words, the further rows indented; paths and addresses stay whole."""
    return textwrap.fill(
        line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


class _Count(ProgressColumn):
    """Units done of the total."""

    def render(self, task: Task) -> Text:
        return Text(_count(task))


class _Left(ProgressColumn):
    """Time left."""

    def render(self, task: Task) -> Text:
        return Text(_left(task) or "estimating")


def _columns(total: int | None) -> tuple[ProgressColumn, ...]:
    """The columns of a bar, in 80 columns; the words are cut to fit."""
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    words = TextColumn("{task.fields[words]}", markup=False, table_column=rest)
    counted = () if total is None else (BarColumn(bar_width=16), _Count(), _Left())
    return (SpinnerColumn(), TextColumn("{task.description}"), *counted, words)


def _count(task: Task) -> str:
    if task.fields["in_bytes"]:
        return f"{decimal(int(task.completed))} of {decimal(int(task.total or 0))}"
    return f"{task.completed:,.0f}/{task.total:,.0f}"


def _left(task: Task) -> str | None:
    seconds = task.fields["pace"].seconds_left(int(task.total or 0))
    return None if seconds is None else f"{clock_time(seconds)} left"


def _one_line(task: Task) -> str:
    """The bar as a line of text, for a log."""
    counted = [] if task.total is None else [_count(task), _left(task)]
    return f"{task.description}: " + ", ".join(part for part in (*counted, task.fields["words"]) if part)


def clock_time(seconds: float) -> str:
    """Format seconds as `0:07`, `12:30` or `3:05:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
