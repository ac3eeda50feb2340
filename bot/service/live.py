"""The progress of the cycle that runs, in a small file: the page may be in another process."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.filesize import decimal

from bot.home import Home
from bot.lock import is_home_held
from bot.progress import Advance, Narrator, Pace, SecondsAllowed, clock_time, printable

LINES = 40
"""Newest lines that are kept."""

WRITE_SECONDS = 1.0
"""Least time between two writes while a step advances."""


@dataclass(frozen=True)
class SaidLine:
    """A finished step. moment: in ISO 8601, UTC."""

    moment: str
    text: str


@dataclass(frozen=True)
class LiveProgress:
    """What the running cycle is doing.

    step: the title of its bar; "" between two steps. done, total: in the bar's units (bytes where in_bytes); total is
    None where it is not known. seconds_left: estimate; None without one. lines: the newest finished steps, in order.
    """

    watchlist: str
    step: str
    done: int
    total: int | None
    in_bytes: bool
    words: str
    seconds_left: float | None
    lines: tuple[SaidLine, ...]
    updated: str

    @property
    def count(self) -> str:
        """`120/960, 0:40 left`; empty where a step cannot be counted."""
        parts = []
        if self.total is not None:
            sizes = decimal(self.done), decimal(self.total)
            parts.append(f"{sizes[0]} of {sizes[1]}" if self.in_bytes else f"{self.done:,}/{self.total:,}")
        if self.seconds_left is not None:
            parts.append(f"{clock_time(self.seconds_left)} left")
        return ", ".join(parts)

    def describe(self) -> str:
        """`searching: 120/960, 0:40 left, generation 3, 7 on the front`."""
        about = ", ".join(filter(None, (self.count, self.words)))
        return ": ".join(filter(None, (self.step or "between two steps", about)))


_PROGRESS = TypeAdapter(LiveProgress)


def read_progress(home: Home) -> LiveProgress | None:
    """What the home's cycle is doing; None if none runs. Nothing is written."""
    try:
        content = home.progress.read_bytes()
    except OSError:
        return None
    if not is_home_held(home):  # left behind by a process that was killed
        return None
    try:
        return _PROGRESS.validate_json(content)
    except ValidationError:
        return None


class LiveNarrator:
    """Passes everything on to another narrator, and keeps the home's progress file up to date."""

    def __init__(
        self, narrator: Narrator, home: Home, watchlist: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._narrator = narrator
        self._path = home.progress
        self._clock = clock
        self._watchlist = watchlist
        self._lines: deque[SaidLine] = deque(maxlen=LINES)
        self._written = 0.0
        self._idle()

    def say(self, text: str) -> None:
        """Report a finished step in a line."""
        self._narrator.say(text)
        self._lines.append(SaidLine(_now(), printable(text)))
        self._write()

    @contextmanager
    def bar(
        self, title: str, total: int | None, *, in_bytes: bool = False, seconds_allowed: SecondsAllowed | None = None
    ) -> Iterator[Advance]:
        """Show work in progress."""
        self._step, self._total, self._in_bytes, self._done, self._words = title, total, in_bytes, 0, ""
        self._pace: Pace | None = Pace(seconds_allowed=seconds_allowed)
        self._write()
        with self._narrator.bar(title, total, in_bytes=in_bytes, seconds_allowed=seconds_allowed) as shown:

            def advance(done: int, words: str = "") -> None:
                shown(done, words)
                self._advance(done, words)

            yield advance
        self._idle()
        self._write()

    def close(self) -> None:
        """Remove the file: nothing runs any more."""
        self._path.unlink(missing_ok=True)

    def _idle(self) -> None:
        self._step, self._total, self._in_bytes, self._done, self._words = "", None, False, 0, ""
        self._pace = None

    def _advance(self, done: int, words: str) -> None:
        self._done += done
        self._words = printable(words) or self._words
        if done and self._pace is not None:
            self._pace.step(done)
        if self._clock() - self._written >= WRITE_SECONDS:
            self._write()

    def _write(self) -> None:
        left = None if self._pace is None or self._total is None else self._pace.seconds_left(self._total)
        now = LiveProgress(
            self._watchlist, self._step, self._done, self._total, self._in_bytes, self._words, left,
            tuple(self._lines), _now(),
        )  # fmt: skip
        self._written = self._clock()
        replace_file(self._path, json.dumps(asdict(now), ensure_ascii=False))


@contextmanager
def live_narrator(narrator: Narrator, home: Home, watchlist: str) -> Iterator[LiveNarrator]:
    """A narrator whose progress others can read while the block runs."""
    live = LiveNarrator(narrator, home, watchlist)
    try:
        yield live
    finally:
        live.close()


def replace_file(path: Path, text: str) -> None:
    """Replace a file at once, if the disk lets us: no cycle fails for it. After a crash nobody needs it, so no sync."""
    temporary = path.with_name(f".{path.name}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
