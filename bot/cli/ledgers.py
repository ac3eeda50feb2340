"""The ledger for a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.errors import ShoalError

if TYPE_CHECKING:
    from bot.home import Home
    from bot.ledger.ledger import Ledger


def open_ledger(home: Home) -> Ledger:
    """The home's ledger; ShoalError if there is none yet."""
    from bot.ledger.ledger import Ledger

    if not home.ledger.exists():
        raise ShoalError(f"{home.folder}: no ledger here yet; run a watchlist first, or give another --home")
    return Ledger(home.ledger)
