"""What the search of a cycle asked for, generation by generation: the ledger as a search's journal."""

from __future__ import annotations

from dataclasses import dataclass

from bot.ledger.ledger import Ledger
from merging.evolution.journal import AskedBatch

ASKED = "asked "
"""What the names of these stages begin with."""


@dataclass(frozen=True)
class LedgerJournal:
    """The journal of one cycle.

    repeats: an earlier cycle whose search this one repeats: what it asked for is asked for again.
    """

    ledger: Ledger
    cycle: str
    repeats: str | None = None

    def asked(self, generation: int) -> AskedBatch | None:
        """What the cycle has asked for in a generation, or else the one that it repeats."""
        cycles = (self.cycle, self.repeats)
        found = (self.ledger.kept(cycle, f"{ASKED}{generation}", AskedBatch) for cycle in cycles if cycle is not None)
        return next((batch for batch in found if batch is not None), None)

    def record(self, generation: int, batch: AskedBatch) -> None:
        """Keep it."""
        self.ledger.keep(self.cycle, f"{ASKED}{generation}", batch, AskedBatch)
