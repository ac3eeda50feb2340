"""Making room in a home: what is deleted, and what is never touched."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.cycle.past.clean import (
    CleaningLimits,
    HomeItem,
    ItemKind,
    choose_deletions,
    delete_items,
    list_items,
    plan_cleaning,
)
from bot.home import Home
from bot.hub.download import MANIFEST
from bot.ledger.decisions import ReviewDecision, ReviewVerdict, record_decision
from bot.ledger.ledger import EvaluationEntry, Ledger, ReleaseEntry, SourceEntry, State
from bot.lock import HomeIsBusyError, hold_home
from fixtures.shoal_here import Here, here
from fixtures.shoal_process import one_line_error

__all__ = ["here"]

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SHARED, OLD = "a" * 40, "b" * 40


def item(name: str, days: float, size: int = 10, needed: str = "") -> HomeItem:
    return HomeItem(ItemKind.SOURCE, Path(name), size, NOW - timedelta(days=days), needed)


def names(items: tuple[HomeItem, ...]) -> list[str]:
    return [str(one.path) for one in items]


def test_what_was_not_used_for_too_long_is_deleted_unless_it_is_needed() -> None:
    items = [item("new", 1), item("old", 31), item("needed", 400, needed="small-1 is waiting for review")]
    assert names(choose_deletions(items, CleaningLimits(30), NOW)) == ["old"]
    assert choose_deletions(items, CleaningLimits(500), NOW) == ()
    assert names(choose_deletions(items, CleaningLimits(0), NOW)) == ["old", "new"]


def test_a_limit_of_bytes_deletes_the_longest_unused_first_and_no_more_than_it_must() -> None:
    items = [item("c", 1), item("a", 3), item("b", 2), item("needed", 9, needed="so")]
    assert choose_deletions(items, CleaningLimits(30, 40), NOW) == ()
    assert names(choose_deletions(items, CleaningLimits(30, 39), NOW)) == ["a"]
    assert names(choose_deletions(items, CleaningLimits(30, 20), NOW)) == ["a", "b"]
    assert names(choose_deletions(items, CleaningLimits(30, 0), NOW)) == ["a", "b", "c"]
    assert names(choose_deletions(items, CleaningLimits(2.5, 30), NOW)) == ["a"]


def write(path: Path, size: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def source(home: Home, repo: str, sha: str) -> Path:
    folder = home.sources / repo.replace("/", "--") / sha
    write(folder / "model.safetensors")
    (folder / MANIFEST).write_text(json.dumps({"files": {}}))
    return folder


def cycle(home: Home, name: str, state: State, sha: str, *roles: str) -> str:
    """A cycle of its own watchlist that used a source at this commit, and wrote releases."""
    ledger = Ledger(home.ledger)
    entry = ledger.begin(name, "words", NOW)
    ledger.record_pool(entry.id, (), [SourceEntry("reef/one", sha, "source", "mit")])
    ledger.record_evaluation("{}", EvaluationEntry("recipe", "set", 1.0, None), [])
    for role in roles:
        write(home.release(entry.id, role) / "model.safetensors")
        ledger.record_release(ReleaseEntry(entry.id, role, "recipe", f"me/{role}", {}), None)
    write(home.report(entry.id))
    if state is not State.RUNNING:
        ledger.finish(entry.id, state, "", NOW)
    ledger.close()
    return entry.id


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def left_after(home: Home) -> set[str]:
    """The files and empty folders that the strictest cleaning leaves of sources, releases and reports."""
    later = datetime.now(UTC) + timedelta(days=365)
    cleaning = delete_items(plan_cleaning(home, CleaningLimits(0, 0), later))
    assert cleaning.done and not any(one.path.exists() for one in cleaning.deleted)
    folders = [home.sources, home.folder / "releases", home.folder / "reports"]
    ends = [path for folder in folders for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())]
    return {str(path.relative_to(home.folder)) for path in ends if path.name != MANIFEST}


@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED, State.REVIEW])
def test_what_a_cycle_needs_that_goes_on_or_waits_is_never_touched(home: Home, state: State) -> None:
    source(home, "reef/one", SHARED)
    source(home, "reef/one", OLD)
    write(home.sources / "reef--one" / f".{'c' * 40}.partial" / "half")
    going_on = cycle(home, "one", state, SHARED, "balanced")
    cycle(home, "two", State.PUBLISHED, SHARED, "balanced")
    assert left_after(home) == {
        f"sources/reef--one/{SHARED}/model.safetensors",
        f"releases/{going_on}/balanced/model.safetensors",
        f"reports/{going_on}.md",
    }


def test_rows_in_the_vocabularies_of_merges_can_be_made_again(home: Home) -> None:
    cycle(home, "one", State.REVIEW, SHARED)
    write(home.vocabularies / SHARED / "0" / "model.safetensors")
    (found,) = [one for one in list_items(home) if one.kind is ItemKind.VOCABULARY]
    assert (found.path, found.needed) == (home.vocabularies / SHARED, "")


def test_a_download_that_a_cycle_continues_is_kept(home: Home) -> None:
    partial = write(home.sources / "reef--one" / f".{SHARED}.partial" / "half")
    cycle(home, "one", State.FAILED, SHARED)
    assert str(partial.relative_to(home.folder)) in left_after(home)


def test_a_source_goes_beside_a_newer_download_of_it_and_what_a_killed_cleaning_left_goes_too(home: Home) -> None:
    whole = source(home, "reef/one", SHARED)
    for path in (*whole.iterdir(), whole):
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    partial = write(whole.with_name(f".{SHARED}.partial") / "half").parent
    killed = write(whole.with_name(f".{OLD}.deleted") / "half").parent
    cleaning = plan_cleaning(home, CleaningLimits(0, 0), datetime.now(UTC) + timedelta(days=365))
    assert {one.path: one.kind for one in cleaning.deleted} == {
        whole: ItemKind.SOURCE,
        partial: ItemKind.UNFINISHED,
        killed: ItemKind.UNFINISHED,
    }
    delete_items(cleaning)
    assert list(home.sources.iterdir()) == []


def test_what_was_fetched_for_a_cycle_that_has_not_found_its_pool_yet_is_kept(home: Home) -> None:
    """Its sources are recorded once all are there."""
    ledger = Ledger(home.ledger)
    ledger.begin("one", "words", datetime.now(UTC) - timedelta(hours=1))
    fetched, older = source(home, "reef/one", SHARED), source(home, "reef/two", OLD)
    for path in (*older.iterdir(), older):
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    assert left_after(home) == {str((fetched / "model.safetensors").relative_to(home.folder))}


def test_decided_releases_go_and_those_of_the_same_cycle_that_wait_stay(home: Home) -> None:
    waiting = cycle(home, "one", State.REVIEW, SHARED, "balanced", "best-math")
    ledger = Ledger(home.ledger)
    record_decision(ledger, ReviewDecision(waiting, "best-math", "recipe", ReviewVerdict.REJECTED, "anna", NOW, "no"))
    cycle(home, "two", State.REJECTED, SHARED, "balanced")
    releases = {name for name in left_after(home) if name.startswith("releases/")}
    assert releases == {f"releases/{waiting}/balanced/model.safetensors"}
    assert len(ledger.releases()) == 3 and len(ledger.cycles()) == 2


def test_releases_that_are_not_to_be_published_are_the_persons_own(home: Home) -> None:
    written = cycle(home, "one", State.WRITTEN, SHARED, "balanced")
    assert f"releases/{written}/balanced/model.safetensors" in left_after(home)


def test_what_shoal_did_not_write_is_not_even_listed(home: Home) -> None:
    mine = [
        write(home.sources / "my-notes" / "a"),
        write(home.sources / "reef--one" / SHARED / "model.safetensors"),  # no manifest
        write(home.folder / "releases" / "unknown-1" / "balanced" / "a"),
    ]
    elsewhere = write(home.folder.parent / "elsewhere" / MANIFEST)
    (home.sources / "reef--two").mkdir(parents=True)
    (home.sources / "reef--two" / OLD).symlink_to(elsewhere.parent)
    assert list(list_items(home)) == []
    left_after(home)
    assert all(path.exists() for path in [*mine, elsewhere])


def test_a_source_counts_as_used_when_a_cycle_ended_or_when_it_was_fetched(home: Home) -> None:
    by_cycle, by_hand = source(home, "reef/one", SHARED), source(home, "reef/two", OLD)
    cycle(home, "one", State.NOTHING, SHARED)
    for folder, days in ((by_cycle, 90), (by_hand, 40)):
        moment = (NOW - timedelta(days=days)).timestamp()
        for path in (*folder.iterdir(), folder):
            os.utime(path, (moment, moment))
    used = {one.path: one.used for one in list_items(home) if one.kind is ItemKind.SOURCE}
    assert used == {by_cycle: NOW, by_hand: NOW - timedelta(days=40)}


def test_the_command_says_what_it_would_delete_deletes_with_yes_and_waits_for_nobody(home: Home, here: Here) -> None:
    folder = source(home, "reef/one", SHARED)
    cycle(home, "one", State.NOTHING, SHARED)
    options = ("clean", "--keep-days", 0, "--home", home.folder)
    done = here(*options)
    assert done.returncode == 0 and "to delete: 2 items" in done.stdout and str(folder) in done.stdout
    assert folder.exists()
    with hold_home(home), pytest.raises(HomeIsBusyError), hold_home(home):
        pass
    with hold_home(home):
        assert "another shoal process is using this home" in one_line_error(here(*options, "--yes"))
    found = json.loads(here(*options, "--yes", "--json").stdout)
    assert found["done"] and {one["kind"] for one in found["deleted"]} == {"source", "report"}
    assert not folder.exists() and Ledger(home.ledger).cycles()
