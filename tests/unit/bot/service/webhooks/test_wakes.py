"""Woken watchlists with a clock that is set by hand: many calls are one run, and no restart loses or repeats one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.home import Home
from bot.hub.discovery.candidate import Verdict
from bot.ledger.ledger import EvaluationEntry, Ledger, ReleaseEntry, SourceEntry, State
from bot.ledger.webhook_calls import kept_wakes, newest_call
from bot.service.webhooks.event import HubChange
from bot.service.webhooks.wakes import Wakes
from fixtures.cycles import small_watchlist

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Bot:
    """A home with one cycle, its woken watchlists, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.home, self.now, self.paused = Home(folder), NOON, set[str]()
        self.watchlists = [small_watchlist(), small_watchlist(name="other", watch={"tags": ["else"]})]
        ledger = Ledger(self.home.ledger)
        cycle = ledger.begin("small", "d", NOON).id
        verdict = Verdict("ann/source", "f" * 40, True, "fits")
        ledger.record_pool(cycle, [verdict], [SourceEntry("ann/source", "f" * 40, "source", "mit")])
        ledger.record_evaluation("{}", EvaluationEntry("r" * 64, "e" * 64, 1.0, None), [])
        ledger.record_release(ReleaseEntry(cycle, "balanced", "r" * 64, "reef/release", {}), None)
        ledger.finish(cycle, State.NOTHING, "", NOON)
        ledger.close()
        self.start()

    def start(self) -> None:
        """Start the process anew."""
        self.wakes = Wakes(self.home, self.watchlists, lambda: self.now)

    def call(self, commit: str = "a", repo: str = "ann/source") -> tuple[str, ...]:
        """The Hub tells of a commit; returns the watchlists that it woke."""
        refs = (("refs/heads/main", commit * 40),)
        change = HubChange("repo.content", "update", "model", repo, None, refs, frozenset(), f"{repo} {commit}")
        return self.wakes.take_call(change).watchlists

    def due(self, seconds: float = 0) -> list[str]:
        """What is due after so many seconds."""
        self.now += timedelta(seconds=seconds)
        return [wake.watchlist for wake in self.wakes.take_due(lambda: self.paused)]

    def run(self, *, fails: bool = False, resumes: bool = False, meanwhile: Sequence[str] = ()) -> None:
        """A cycle runs: a new one, unless it resumes one. Calls with some commits come meanwhile."""
        self.wakes.begin("small")
        ledger = Ledger(self.home.ledger)
        if not resumes:
            cycle = ledger.begin("small", "d", self.now).id
            ledger.finish(cycle, State.FAILED if fails else State.UNCHANGED, "", self.now)
        ledger.close()
        for commit in meanwhile:
            self.call(commit)
        if not fails:
            self.wakes.end("small")

    def kept(self) -> list[str]:
        """The woken watchlists in the ledger."""
        ledger = Ledger(self.home.ledger)
        found = [wake.watchlist for wake in kept_wakes(ledger)]
        ledger.close()
        return found


@pytest.fixture
def bot(tmp_path: Path) -> Bot:
    return Bot(tmp_path / "home")


def test_many_calls_are_one_run_a_minute_after_the_last(bot: Bot) -> None:
    assert bot.call("a") == ("small",) and bot.due(59) == []
    assert bot.call("b") == ("small",) and bot.due(59) == []
    assert bot.due(1) == ["small"] and bot.due() == []
    bot.run()
    assert bot.due(3600) == [] and bot.kept() == []


def test_calls_that_never_end_do_not_hold_up_a_watchlist(bot: Bot) -> None:
    waited = 0
    while not bot.due(30):
        bot.call(chr(ord("A") + waited // 30))
        waited += 30
    assert waited == 600


def test_a_call_is_taken_once_also_after_a_restart(bot: Bot) -> None:
    assert bot.call() == ("small",)
    assert bot.call() == ()
    bot.due(60)
    bot.run()
    bot.start()
    assert bot.call() == () and bot.due(3600) == []
    ledger = Ledger(bot.home.ledger)
    call = newest_call(ledger)
    ledger.close()
    assert call is not None and call.received == NOON
    assert (call.event, call.decision) == (
        "repo.content update of ann/source at aaaaaaa", "wakes small (a source of earlier cycles)",
    )  # fmt: skip


def test_a_restart_before_the_run_loses_nothing_and_one_within_it_repeats_nothing(bot: Bot) -> None:
    bot.call("a")
    bot.start()
    assert bot.due(60) == ["small"]
    bot.start()  # killed while another watchlist's cycle ran
    assert bot.due() == ["small"]
    bot.wakes.begin("small")
    bot.start()  # killed before the cycle was begun
    assert bot.due() == ["small"]
    bot.run(fails=True)
    bot.start()  # killed in the cycle, which is resumed anyway
    assert bot.due() == [] and bot.kept() == []


def test_a_call_during_the_cycle_leads_to_another_one(bot: Bot) -> None:
    bot.call("a")
    assert bot.due(60) == ["small"]
    bot.run(meanwhile=["b"])
    assert bot.due(59) == [] and bot.due(1) == ["small"]
    bot.run()
    assert bot.kept() == []


def test_a_resumed_cycle_does_not_count_because_it_looked_for_models_before_the_call(bot: Bot) -> None:
    bot.call("a")
    assert bot.due(60) == ["small"]
    bot.run(resumes=True)
    assert bot.due() == ["small"]
    bot.run()
    assert bot.due(3600) == [] and bot.kept() == []


def test_a_failed_cycle_is_left_to_the_retries(bot: Bot) -> None:
    bot.call("a")
    assert bot.due(60) == ["small"]
    bot.run(fails=True)
    assert bot.due(3600) == []
    bot.run(resumes=True)  # the retry resumes the cycle that had begun after the call
    assert bot.due(3600) == [] and bot.kept() == []


def test_a_run_for_another_reason_answers_the_calls_too(bot: Bot) -> None:
    bot.call("a")
    bot.run()
    assert bot.due(3600) == [] and bot.kept() == []


def test_a_paused_watchlist_waits_until_it_is_resumed(bot: Bot) -> None:
    bot.call("a")
    bot.paused = {"small"}
    assert bot.due(3600) == []
    bot.paused = set()
    assert bot.due() == ["small"]


def test_own_releases_and_strangers_wake_nothing(bot: Bot) -> None:
    assert bot.call(repo="reef/release") == () and bot.call(repo="zoe/unknown") == ()
    assert bot.due(3600) == [] and bot.kept() == []


def test_a_clock_that_is_put_back_holds_nothing_up(bot: Bot) -> None:
    bot.call("a")
    assert bot.due(-7200) == ["small"]
    bot.run()
    assert bot.due() == [] and bot.kept() == []


def test_an_edited_watchlist_is_woken_as_it_is_now(bot: Bot) -> None:
    bot.wakes.follow([small_watchlist(pinned=["zoe/unknown"])])
    assert bot.call(repo="zoe/unknown") == ("small",)
