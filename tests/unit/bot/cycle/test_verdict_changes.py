"""Refusals are reported when they are new, not in every cycle."""

from __future__ import annotations

from dataclasses import replace

from bot.cycle.sources import describe_changes
from bot.hub.discovery.candidate import Verdict

TAKEN = Verdict("reef/a", "1" * 40, True, "of one family")
REFUSED = Verdict("reef/b", "2" * 40, False, "it is gated")


def test_a_first_cycle_reports_every_verdict_the_refusals_first() -> None:
    assert describe_changes((TAKEN, REFUSED), ()) == [
        "refused  reef/b: it is gated",
        "taken    reef/a: of one family",
    ]


def test_later_cycles_count_what_has_not_changed() -> None:
    assert describe_changes((TAKEN, REFUSED), (TAKEN, REFUSED)) == [
        "1 accepted and 1 refused as before; `shoal show` has the reasons"
    ]


def test_another_reason_or_another_commit_of_a_taken_model_is_news_but_not_of_a_refused_one() -> None:
    moved = replace(REFUSED, sha="3" * 40)
    assert len(describe_changes((TAKEN, moved), (TAKEN, REFUSED))) == 1
    other, newer = replace(moved, reason="it is quantised"), replace(TAKEN, sha="4" * 40)
    assert describe_changes((newer, other), (TAKEN, REFUSED)) == [
        "refused  reef/b: it is quantised",
        "taken    reef/a: of one family",
    ]
