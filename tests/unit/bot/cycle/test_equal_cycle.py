"""Whether an earlier cycle leaves a new one nothing to do: same words, sources and evaluation sets, same repos."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.cycle.sources import find_equal_cycle
from bot.ledger.ledger import Cycle, Ledger, SourceEntry, State
from bot.watchlist.watchlist import Watchlist
from fixtures.cycles import small_watchlist

STARTED = datetime(2026, 11, 2, tzinfo=UTC)
EVAL_SETS = ("search", "validation", "report")
SOURCES = (SourceEntry("reef/a", "1" * 40, "source", "mit"), SourceEntry("reef/b", "2" * 40, "source", "mit"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def begin(ledger: Ledger, watchlist: Watchlist, day: int, sources: tuple[SourceEntry, ...] = SOURCES) -> Cycle:
    cycle = ledger.begin(watchlist.name, watchlist.digest, STARTED + timedelta(days=day))
    ledger.keep(cycle.id, "watchlist", watchlist, Watchlist)
    ledger.record_pool(cycle.id, (), sources)
    return cycle


def ended(ledger: Ledger, state: State, **publish: object) -> None:
    """A first cycle that ended in this state under these publish settings."""
    first = begin(ledger, small_watchlist(publish=publish), 0)
    ledger.keep(first.id, "eval_sets", EVAL_SETS, tuple[str, ...])
    ledger.finish(first.id, state, "", STARTED)


def equal(ledger: Ledger, eval_sets: tuple[str, ...] = EVAL_SETS, **publish: object) -> str | None:
    watchlist = small_watchlist(publish=publish)
    return find_equal_cycle(ledger, begin(ledger, watchlist, 1), watchlist.publish, eval_sets)


@pytest.mark.parametrize("state", [State.PUBLISHED, State.REVIEW, State.NOTHING, State.REJECTED])
def test_a_finished_cycle_of_the_same_sources_leaves_nothing_to_do(ledger: Ledger, state: State) -> None:
    ended(ledger, state)
    assert equal(ledger) == "small-1"


@pytest.mark.parametrize("mode", ["auto", "off"])
@pytest.mark.parametrize("state", [State.ABANDONED, State.UNCHANGED])
def test_a_cycle_without_an_outcome_of_its_own_does_not_count(ledger: Ledger, state: State, mode: str) -> None:
    ended(ledger, state, mode=mode)
    assert equal(ledger, mode=mode) is None


@pytest.mark.parametrize("elsewhere", [{"namespace": "reef"}, {"name": "{watchlist}-{role}-two"}])
@pytest.mark.parametrize("state", [State.PUBLISHED, State.REVIEW])
def test_a_cycle_that_published_elsewhere_leaves_its_releases_to_publish(
    ledger: Ledger, state: State, elsewhere: dict[str, str]
) -> None:
    ended(ledger, state, **elsewhere)
    assert equal(ledger) is None


def test_where_nothing_passed_or_nothing_is_published_the_namespace_makes_no_difference(ledger: Ledger) -> None:
    ended(ledger, State.PUBLISHED, namespace="reef")
    assert equal(ledger, mode="off") == "small-1"


@pytest.mark.parametrize("state", [State.NOTHING, State.REJECTED])
def test_where_there_is_nothing_to_publish_another_namespace_changes_nothing(ledger: Ledger, state: State) -> None:
    ended(ledger, state, namespace="reef")
    assert equal(ledger) == "small-1"


def test_a_cycle_that_only_wrote_its_releases_leaves_them_to_publish(ledger: Ledger) -> None:
    ended(ledger, State.WRITTEN, mode="off")
    assert equal(ledger) is None
    assert equal(ledger, mode="off") == "small-1"


def test_other_sources_or_other_evaluation_sets_are_something_new(ledger: Ledger) -> None:
    ended(ledger, State.PUBLISHED)
    assert equal(ledger, ("search", "validation", "other")) is None
    watchlist = small_watchlist()
    other = begin(ledger, watchlist, 2, SOURCES[:1])
    assert find_equal_cycle(ledger, other, watchlist.publish, EVAL_SETS) is None
