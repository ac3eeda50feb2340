"""The context that the steps of a cycle share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.errors import ShoalError, failure_reason
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.judges import JudgeModel
from bot.ledger.ledger import Cycle, Ledger, State
from bot.progress import Narrator
from bot.watchlist.watchlist import Watchlist


@dataclass(frozen=True)
class CycleContext:
    """One cycle: its watchlist, its Hub and home, the ledger, and its entry in the ledger.

    save: keeps the home's state elsewhere, where it is kept elsewhere; returns when that is done.
    """

    watchlist: Watchlist
    home: Home
    hub: Hub
    ledger: Ledger
    narrator: Narrator
    cycle: Cycle
    save: Callable[[], None] = lambda: None

    @property
    def judges(self) -> tuple[JudgeModel, ...]:
        """The models that judge the tasks, as they were found before the pool was; none of most kinds."""
        return self.ledger.kept(self.cycle.id, JudgeModel.STAGE, tuple[JudgeModel, ...]) or ()

    def finish(self, state: State, note: str) -> None:
        """Close the cycle with one line on how it ended."""
        self.ledger.finish(self.cycle.id, state, note, datetime.now(UTC))
        self.narrator.say(f"{self.cycle.id}: {state}: {note}")

    @contextmanager
    def failure_recorded(self) -> Iterator[None]:
        """Record an error that ends the cycle, with its reason; the next run resumes the cycle.

        Ctrl-C and a killed process record nothing: the cycle is interrupted, and resumed likewise.
        """
        try:
            yield
        except Exception as error:
            with suppress(ShoalError):  # where the disk is full, the ledger cannot be written either
                self.ledger.finish(self.cycle.id, State.FAILED, failure_reason(error), datetime.now(UTC))
            raise
