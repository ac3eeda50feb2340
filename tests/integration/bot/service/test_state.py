"""The state of a home in a private data set repo, with the genuine client against a local Hub."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import cycle_decisions, keep_documents
from bot.ledger.ledger import Ledger, State
from bot.ledger.snapshot import read_mark
from bot.service.scheduler import DueWatchlists, running_schedule
from bot.service.state import keeper as keeping
from bot.service.state.keeper import StateKeeper, kept_state
from bot.service.state.repo import MANIFEST, StateRepo, StateTakenError
from bot.service.state.snapshot import LARGEST_EDIT
from bot.watchlist.load import load_watchlist
from conftest import TestHub
from fixtures.past_cycles import CARD, PIXEL, write_past_cycles
from fixtures.shoal_process import shoal, write_watchlist
from localhub import Shelf

REPO = "reef/state"


def state_of(hub: TestHub, token: str | None = None) -> StateRepo:
    return StateRepo(Hub(hub.endpoint, token or hub.token, sleep=lambda _: None), REPO)


def keeper(hub: TestHub, home: Home, who: str = "ada", said: list[str] | None = None) -> StateKeeper:
    return StateKeeper(state_of(hub), home, who, (said if said is not None else []).append)


def titles(hub: TestHub) -> list[str]:
    return [commit.title for commit in hub.api().list_repo_commits(REPO, repo_type="dataset")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = write_past_cycles(tmp_path / "home")
    ledger = Ledger(home.ledger)
    keep_documents(ledger, "small-1", "balanced", {"README.md": CARD.encode(), "scores.png": PIXEL})
    ledger.close()
    home.notify.write_text("mailto://user:secret@example.org")
    home.page_password.write_text("scrambled")
    home.reports.mkdir()
    home.report("other-1").write_text("# It failed")
    return home


def test_an_empty_home_goes_on_with_cycles_cards_reports_and_times(hub: TestHub, home: Home, tmp_path: Path) -> None:
    files = [write_watchlist(tmp_path / f"{name}.yml", name=name, schedule={"cron": "0 0 1 1 *"}) for name in "pqr"]
    watchlists = {path: load_watchlist(path) for path in files}
    with running_schedule(watchlists, home, DueWatchlists()) as cron_jobs:
        cron_jobs.pause("p")
    with closing(sqlite3.connect(home.schedule)) as jobs, jobs:
        jobs.execute("UPDATE apscheduler_jobs SET next_run_time = 1.0 WHERE id = 'q'")  # its time came and went
    keeper(hub, home).begin()
    info = hub.api().dataset_info(REPO)
    assert info.private and {one.rfilename for one in info.siblings} == {
        ".gitattributes", "README.md", MANIFEST, "ledger.sqlite", "schedule.json", "reports/other-1.md",
    }  # fmt: skip

    said: list[str] = []
    new = Home(tmp_path / "new")
    keeper(hub, new, "bob", said).begin()
    assert said[0].startswith(f"goes on from the state {REPO}, of ada at 2")
    assert read_mark(new.ledger) == read_mark(home.ledger)
    assert (new.release("small-1", "balanced") / "README.md").read_text() == CARD
    assert (new.release("small-1", "balanced") / "scores.png").read_bytes() == PIXEL
    assert new.report("other-1").read_text() == "# It failed"
    assert not new.notify.exists() and not new.page_password.exists()
    due = DueWatchlists()
    with running_schedule(watchlists, new, due) as cron_jobs:
        assert cron_jobs.paused() == {"p"}
        assert due.wait_for_next(20) == str(files[1])  # missed while nothing ran
        assert "next at" in cron_jobs.next_run("r")
    assert not new.restored_times.exists()


def test_of_two_at_once_the_second_stops_and_says_who_was_first(hub: TestHub, home: Home, tmp_path: Path) -> None:
    first, other = keeper(hub, home), Home(tmp_path / "other")
    first.begin()
    with kept_state(state_of(hub), other, "the Job 687fb7", lambda _: None) as second:
        for _ in range(2):
            with pytest.raises(
                StateTakenError, match=r"^--state: reef/state: the Job 687fb7 at 2.* was first .*stop one"
            ):
                first.save()
        second.save()
    assert titles(hub)[:3] == ["Snapshot 3 of the Job 687fb7", "Snapshot 2 of the Job 687fb7", "Snapshot 1 of ada"]
    # The first one's home had nothing that was not saved, so it may go on from there.
    keeper(hub, home).begin()
    ledger = Ledger(home.ledger)
    ledger.finish("other-1", State.ABANDONED, "by hand", datetime.now(UTC))
    ledger.close()
    keeper(hub, other, "bob").begin()
    with pytest.raises(ShoalError, match=r"reef/state: is of bob at .*ledger.sqlite has what it does not have; move"):
        keeper(hub, home).begin()
    assert titles(hub)[0] == "Snapshot 5 of bob"


def test_a_release_of_a_job_is_reviewed_from_any_machine(hub: TestHub, home: Home, tmp_path: Path) -> None:
    job = keeper(hub, home, "the Job 687fb7")
    job.begin()
    desk = Home(tmp_path / "desk")
    keeper(hub, desk).pull()
    job.save()  # reading disturbs nobody
    done = shoal(
        "reject", "small-1", "balanced", "--note", "too small", "--home", desk.folder, "--state", REPO,
        "--endpoint", hub.endpoint, token=hub.token,
    )  # fmt: skip
    assert "rejected by" in done.stdout, done.stderr
    with pytest.raises(StateTakenError, match=r"stop one of them"):
        job.save()
    new = Home(tmp_path / "new")
    keeper(hub, new).pull()
    ledger = Ledger(new.ledger)
    assert cycle_decisions(ledger, "small-1")["balanced"].note == "too small"
    assert ledger.cycle("small-1").state is State.REJECTED
    ledger.close()


def test_a_process_that_starts_takes_over_from_one_that_is_still_saving(
    hub: TestHub, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, genuine, new = keeper(hub, home), keeping.write_snapshot, Home(tmp_path / "new")
    first.begin()

    def write(of: Home, folder: Path) -> dict[str, Path]:
        if of == new and len(titles(hub)) < 4:  # the first one is quicker, twice
            first.save()
        return genuine(of, folder)

    monkeypatch.setattr(keeping, "write_snapshot", write)
    keeper(hub, new, "bob").begin()
    assert titles(hub)[:3] == ["Snapshot 4 of bob", "Snapshot 3 of ada", "Snapshot 2 of ada"]
    with pytest.raises(StateTakenError, match=r"bob at .* was first"):
        first.save()


def test_a_start_that_is_killed_while_it_takes_over_is_made_again(
    hub: TestHub, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other, genuine = keeper(hub, home), Home(tmp_path / "other"), keeping.restore_snapshot
    first.begin()
    keeper(hub, other).pull()
    ledger = Ledger(home.ledger)
    ledger.finish("other-1", State.ABANDONED, "by hand", datetime.now(UTC))
    ledger.close()
    first.save()

    def restore_and_die(folder: Path, home: Home) -> None:
        genuine(folder, home)
        raise KeyboardInterrupt

    for killed in (mock.Mock(side_effect=KeyboardInterrupt), restore_and_die, restore_and_die):
        monkeypatch.setattr(keeping, "restore_snapshot", killed)
        with pytest.raises(KeyboardInterrupt):
            keeper(hub, other, "bob").begin()
    monkeypatch.setattr(keeping, "restore_snapshot", genuine)
    keeper(hub, other, "bob").begin()
    assert read_mark(other.ledger) == read_mark(home.ledger)
    assert titles(hub)[0] == "Snapshot 3 of bob"


def test_lost_answers_and_a_history_that_is_cut_are_no_strangers(
    hub: TestHub, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "SQUASH_EVERY", 2)
    kept = keeper(hub, home)
    kept.begin()
    hub.faults.drop("*/commit/main", after=0, method="POST")
    kept.save()
    assert titles(hub) == ["Snapshot"]  # made although its answer was lost, and then squashed
    kept.save()
    hub.faults.drop("*/super-squash/main", after=0, method="POST")
    kept.save()
    kept.save()
    assert titles(hub)[0] == "Snapshot 5 of ada"
    assert Shelf(hub.store, "datasets").read(REPO, "reports/other-1.md") == b"# It failed"
    keeper(hub, Home(tmp_path / "new"), "bob").begin()
    assert titles(hub) == ["Snapshot"]  # the sixth, whoever made the others


def test_a_busy_hub_delays_a_snapshot_and_stops_nothing(
    hub: TestHub, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(keeping, "PAUSE_AFTER_FAILURE", 0.01)
    said: list[str] = []
    with kept_state(state_of(hub), home, "ada", said.append):
        hub.faults.unavailable("*/commit/main", times=7)
        ledger = Ledger(home.ledger)
        ledger.finish("other-1", State.ABANDONED, "by hand", datetime.now(UTC))
        ledger.close()
        for _ in range(1000):
            if titles(hub)[0] == "Snapshot 3 of ada":
                break
    assert titles(hub)[0] == "Snapshot 3 of ada"
    assert [line.partition(":")[0] for line in said] == ["the state was not saved, and will be again"]


def test_a_repo_that_is_public_or_something_else_is_refused_in_one_line(hub: TestHub, tmp_path: Path) -> None:
    new = Home(tmp_path / "new")
    Shelf(hub.store, "datasets").commit(REPO, {"data.csv": "1"})
    with pytest.raises(ShoalError, match=r"^--state: got 'reef/state': is public on the Hub; make it private"):
        keeper(hub, new).begin()
    hub.api().update_repo_settings(REPO, repo_type="dataset", private=True)
    with pytest.raises(ShoalError, match=r"^--state: got 'reef/state': holds data.csv and no state of shoal; choose"):
        keeper(hub, new).begin()
    manifest = '{"format": 2, "session": "s", "number": 1, "who": "x", "when": "y", "shoal": "9.0"}'
    Shelf(hub.store, "datasets").commit(REPO, {MANIFEST: manifest})
    with pytest.raises(ShoalError, match=r"reef/state: is a state of format 2, written by shoal 9.0; use that version"):
        keeper(hub, new).begin()
    with pytest.raises(ShoalError, match=r"reef/state: the Hub answers 403"):
        StateKeeper(state_of(hub, hub.other_token), new, "bob", print).begin()
    assert not new.ledger.exists()


def test_an_edited_card_is_saved_comes_back_and_is_forgotten_when_it_is_undone(
    hub: TestHub, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.01)
    card, name = home.release("small-1", "balanced") / "README.md", "edits/small-1/balanced/README.md"
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"of the machine")
    (card.parent / "scores.png").unlink()
    (card.parent / "scores.png").symlink_to(secret)  # leads out of the release
    saved: list[str] = []
    with kept_state(state_of(hub), home, "ada", saved.append):
        card.write_text(CARD + "Edited.")
        for _ in range(1000):
            if titles(hub)[0] == "Snapshot 2 of ada":
                break
    edits = [file for file in hub.api().list_repo_files(REPO, repo_type="dataset") if file.startswith("edits")]
    assert edits == [name] and titles(hub)[0] == "Snapshot 2 of ada"

    # On another machine it is as the reviewer left it; a name that the ledger does not have is not looked at.
    shelf = Shelf(hub.store, "datasets")
    shelf.commit(REPO, {"edits/small-1/balanced/model.safetensors": b"evil", "edits/small-1/other/README.md": b"evil"})
    new = Home(tmp_path / "new")
    keeper(hub, new, "bob").begin()
    there = new.release("small-1", "balanced")
    assert (there / "README.md").read_text() == CARD + "Edited." and (there / "scores.png").read_bytes() == PIXEL
    assert not (there / "model.safetensors").exists() and not new.release("small-1", "other").exists()

    # An edit that only one of two machines has stops that one; undone, it goes on.
    card.write_text(CARD + "Offline.")
    with pytest.raises(ShoalError, match=r"is of bob .*README.md that it does not have; move what was edited out of"):
        keeper(hub, home).begin()
    assert card.read_text() == CARD + "Offline."
    card.unlink()
    keeper(hub, home).begin()
    assert card.read_text() == CARD + "Edited."
    card.write_text(CARD)
    said: list[str] = []
    (card.parent / "scores.png").unlink()
    (card.parent / "scores.png").write_bytes(bytes(LARGEST_EDIT + 1))
    with kept_state(state_of(hub), home, "ada", said.append):
        pass
    assert not any(file.startswith("edits") for file in hub.api().list_repo_files(REPO, repo_type="dataset"))
    assert len([line for line in said if "scores.png: 10,000,001 bytes, more than" in line]) == 1
