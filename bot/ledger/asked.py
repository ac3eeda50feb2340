"""What the search of a cycle asked for, generation by generation: the ledger as a search's journal."""

from __future__ import annotations

from dataclasses import dataclass

from bot.ledger.ledger import Ledger
from merging.evolution.journal import AskedBatch


@dataclass(frozen=True)
class LedgerJournal:
    """The journal of one cycle.

    repeats: earlier cycles whose search this one repeats, the newest first: what they asked for is asked for again.
    """

    ledger: Ledger
    cycle: str
    repeats: tuple[str, ...] = ()

    def asked(self, generation: int) -> AskedBatch | None:
        """What the cycle has asked for in a generation, or else the newest one that it repeats."""
        found = (self.ledger.kept(cycle, _stage(generation), AskedBatch) for cycle in (self.cycle, *self.repeats))
        return next((batch for batch in found if batch is not None), None)

    def record(self, generation: int, batch: AskedBatch) -> None:
        """Keep it."""
        self.ledger.keep(self.cycle, _stage(generation), batch, AskedBatch)


def _stage(generation: int) -> str:
    """The stage in which it is kept; snapshots know it by its beginning."""
    return f"asked {generation}"
