"""The record of what searches asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bot.ledger.asked import LedgerJournal
from bot.ledger.ledger import Ledger, State
from bot.ledger.snapshot import read_mark
from merging.evolution.journal import AskedBatch


def test_a_cycle_asks_for_what_it_asked_for_and_then_for_what_the_search_asked_for_that_it_repeats(
    tmp_path: Path,
) -> None:
    ledger, now = Ledger(tmp_path / "ledger.sqlite"), datetime.now(UTC)
    first = ledger.begin("tiny", "digest", now).id
    mark = read_mark(ledger.path)
    batch = AskedBatch(((1, 2), (3, 4)), ("a" * 64, "b" * 64), 1)
    for generation in (0, 1):
        LedgerJournal(ledger, first).record(generation, batch)
    # It is in a snapshot of the ledger, but none is saved for its sake.
    assert read_mark(ledger.path) == mark
    ledger.finish(first, State.PUBLISHED, "", now)
    killed = ledger.begin("tiny", "digest", now).id  # it repeated the first, but not to its end
    ledger.finish(killed, State.ABANDONED, "", now)
    second = ledger.begin("tiny", "digest", now).id
    other = AskedBatch(((5, 6),), ("c" * 64,))
    LedgerJournal(ledger, second).record(0, other)
    for repeats, later in (((), None), ((first,), batch), ((killed, first), batch)):
        journal = LedgerJournal(ledger, second, repeats)
        assert [journal.asked(generation) for generation in range(3)] == [other, later, None]
