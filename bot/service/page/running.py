"""The front of the cycle that runs now, as the first page shows it and an open page follows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from bot.ledger.ledger import Ledger
from bot.service.page.front_plot import FrontPlot, plot_front
from bot.watchlist.watchlist import Watchlist

T = TypeVar("T")


@dataclass(frozen=True)
class GrowingFront:
    """The front of the running cycle's search so far.

    best: (skill, best score of any member). plot: the members of the newest front, and those of earlier ones.
    """

    cycle: str
    generation: int
    members: int
    best: tuple[tuple[str, float], ...]
    plot: FrontPlot


class SharedReading(Generic[T]):
    """A value that several threads ask for, and that is read at most once in so many seconds for all of them."""

    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._lock = threading.Lock()
        self._value: T | None = None
        self._moment = -seconds

    def get(self) -> T:
        """The value, as it was at most so many seconds ago."""
        with self._lock:
            if self._value is None or time.monotonic() - self._moment >= self._seconds:
                self._value, self._moment = self._read(), time.monotonic()
            return self._value


def read_growing_front(ledger: Ledger, cycle: str) -> GrowingFront | None:
    """The front of a cycle whose search is under way; None before its first generation is scored."""
    watchlist = ledger.kept(cycle, "watchlist", Watchlist)
    fronts = ledger.fronts(cycle)
    if watchlist is None or not fronts:
        return None
    skills, newest = watchlist.skill_names, fronts[max(fronts)]
    plot = plot_front(
        skills,
        sorted({scores for front in fronts.values() for _, scores in front}),
        newest,
        x_skill=skills[0],
        y_skill=skills[min(1, len(skills) - 1)],
        chosen=None,
    )
    best = tuple((skill, max(scores[place] for _, scores in newest)) for place, skill in enumerate(skills))
    return GrowingFront(cycle, max(fronts), len(newest), best, plot)
