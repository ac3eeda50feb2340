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

    _check_exists(home)
    return Ledger(home.ledger)


def read_ledger(home: Home) -> Ledger:
    """The home's ledger to be read alone, also where the home cannot be written; ShoalError if there is none yet."""
    from bot.ledger.reading import open_to_read

    _check_exists(home)
    return open_to_read(home.ledger)


def open_to_show(home: Home) -> Ledger | None:
    """As `read_ledger`; None where a `shoal serve` runs that has had nothing to write yet."""
    from bot.service.facts.service_file import read_service

    return None if not home.ledger.exists() and read_service(home) is not None else read_ledger(home)


def _check_exists(home: Home) -> None:
    if not home.ledger.exists():
        raise ShoalError(f"{home.folder}: no ledger here yet; run a watchlist first, or give another --home")
