"""What every step of a cycle works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, State
from bot.progress import Narrator
from bot.watchlist.watchlist import Watchlist


@dataclass(frozen=True)
class CycleContext:
    """One cycle's surroundings: what was asked, where things lie, whom to ask and tell, and which cycle it is."""

    watchlist: Watchlist
    home: Home
    hub: Hub
    ledger: Ledger
    narrator: Narrator
    cycle: str
    number: int

    def finish(self, state: State, note: str) -> None:
        """Close the cycle with one line on how it ended."""
        self.ledger.finish(self.cycle, state, note, now())
        self.narrator.say(f"{self.cycle}: {state}: {note}")


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
