"""Ledgers of older and newer programs: brought up to date, or refused in one line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bot.cycle.history import list_cycles, read_cycle
from bot.errors import ShoalError
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.ledger.migration import SCHEMA_VERSION
from bot.ledger.pull_requests import cycle_pull_requests
from bot.ledger.requests import waiting_requests
from bot.watchlist.watchlist import Watchlist

OLD = Path(__file__).parent / "ledger_0.1.0.sql"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the ledger that shoal 0.1.0 wrote."""
    home = Home(tmp_path / "home")
    home.ledger.parent.mkdir(parents=True)
    execute(home, OLD.read_text())
    return home


def execute(home: Home, script: str) -> None:
    connection = sqlite3.connect(home.ledger)
    connection.executescript(script)
    connection.close()


def contents(home: Home) -> list[str]:
    connection = sqlite3.connect(home.ledger)
    lines = list(connection.iterdump())
    connection.close()
    return lines


def schema_version(home: Home) -> int:
    connection = sqlite3.connect(home.ledger)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def test_a_new_ledger_has_the_present_version(tmp_path: Path) -> None:
    home = Home(tmp_path)
    Ledger(home.ledger)
    assert schema_version(home) == SCHEMA_VERSION


def test_an_old_ledger_is_read_as_before(home: Home) -> None:
    ledger = Ledger(home.ledger)
    (row,) = list_cycles(ledger)
    assert row.cycle.id == "demo-1" and row.cycle.state is State.PUBLISHED
    assert [release.role for release in row.releases] == ["balanced", "best-language"]
    page = read_cycle(ledger, home, "demo-1")
    assert page.skills == ("math", "language", "cross")
    assert [verdict.repo for verdict in page.verdicts if verdict.accepted] == [
        "abacus-works/minnow-math",
        "kotoba-lab/minnow-kotoba",
    ]
    assert page.search is not None and page.search.candidates == 987
    assert {recipe for recipe, _ in page.front} == {release.recipe for release in row.releases}
    assert {comparison.baseline for result in page.gate_results for comparison in result.comparisons} == {
        "linear mean",
        "task_arithmetic, weight 1",
        "abacus-works/minnow-math",
        "kotoba-lab/minnow-kotoba",
        "tidepool/minnow-base",
    }
    assert [result.passed for result in page.gate_results] == [True, True]
    assert [row.name for row in page.measured][:2] == ["balanced", "best-language"]
    assert ledger.count_evaluations() == 14
    assert ledger.kept("demo-1", "eval_sets", tuple[str, ...]) is not None
    ledger.close()
    assert schema_version(home) == SCHEMA_VERSION


def test_what_waits_for_review_in_an_old_ledger_can_still_be_published(home: Home) -> None:
    execute(home, 'UPDATE cycles SET state = "waiting for review"; UPDATE releases SET "commit" = NULL')
    ledger = Ledger(home.ledger)
    assert ledger.cycle("demo-1").state is State.REVIEW
    watchlist = ledger.kept("demo-1", "watchlist", Watchlist)
    assert watchlist is not None and watchlist.publish.namespace == "shoal-demo"
    assert [release.commit for release in ledger.releases("demo-1")] == [None, None]


def test_an_old_running_cycle_is_not_resumed(home: Home) -> None:
    execute(home, "UPDATE cycles SET state = 'running', finished = NULL")
    ledger = Ledger(home.ledger)
    old = ledger.cycle("demo-1")
    assert old.state is State.ABANDONED and old.note == "shoal was upgraded before the cycle was done"
    assert old.finished is not None
    assert ledger.kept("demo-1", "pool", dict[str, object]) is None
    assert ledger.begin("demo", old.digest, old.finished).id == "demo-2"


def test_pull_requests_and_requests_of_an_older_ledger_are_read(home: Home) -> None:
    """A pull request offers its release, and an edit that was ticked has to be ticked anew."""
    ledger = Ledger(home.ledger)
    recipe = {release.role: release.recipe for release in ledger.releases("demo-1")}["balanced"]
    ledger.close()
    row = "('demo-1', 'balanced', 'o/balanced', 1, 'http://hub/1', '2026-11-26T12:00:00+00:00', 0)"
    execute(home, "ALTER TABLE item_scores DROP COLUMN sketch; PRAGMA user_version = 3")
    execute(home, "ALTER TABLE pull_requests DROP COLUMN recipe")
    execute(home, "ALTER TABLE pull_requests DROP COLUMN closed")
    execute(home, f"INSERT INTO pull_requests VALUES {row}")
    execute(home, "ALTER TABLE requests DROP COLUMN edits; ALTER TABLE requests DROP COLUMN over_changes")
    execute(home, "ALTER TABLE requests ADD COLUMN edited BOOLEAN NOT NULL DEFAULT 0")
    values = "'publish', 'demo-1', 'balanced', '', 1, 'ann', '2026-11-26T12:00:00+00:00', 'waiting', ''"
    names = "kind, cycle, role, note, edited, who, made, state, outcome"
    execute(home, f"INSERT INTO requests ({names}) VALUES ({values})")
    pull = cycle_pull_requests(Ledger(home.ledger), "demo-1")["balanced"]
    assert (pull.recipe, pull.number, pull.settled, pull.closed) == (recipe, 1, False, None)
    (request,) = waiting_requests(Ledger(home.ledger))
    assert (request.who, request.edits, request.over_changes) == ("ann", "", False)


def test_files_that_an_older_ledger_names_apart_from_their_repos_are_read(home: Home) -> None:
    """Of a last stage's adapter in a watchlist, and of a LoRA in a pool."""
    ledger = Ledger(home.ledger)
    watchlist = ledger.kept("demo-1", "watchlist", Watchlist)
    assert watchlist is not None
    values = watchlist.model_dump(mode="json")
    adapter = {"repo": "o/style", "revision": None, "licence": None}
    values["search"]["last_stage"] = {"adapter": adapter, "file": "style.safetensors", "scale": [1.0, 1.0]}
    ledger.keep("demo-1", "watchlist", values, dict[str, object])
    ledger.keep("demo-1", "pool", {"adapter_file": "style.safetensors"}, dict[str, object])
    ledger.close()
    execute(home, "ALTER TABLE item_scores DROP COLUMN sketch; PRAGMA user_version = 6")
    ledger = Ledger(home.ledger)
    found = ledger.kept("demo-1", "watchlist", Watchlist)
    assert found is not None and found.search.last_stage is not None
    assert found.search.last_stage.adapter.file == "style.safetensors"
    assert ledger.kept("demo-1", "pool", dict[str, object]) == {"lora_file": "style.safetensors"}


def test_an_old_ledger_is_brought_up_to_date_once(home: Home) -> None:
    Ledger(home.ledger).close()
    before = contents(home)
    Ledger(home.ledger).close()
    assert contents(home) == before


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE stages SET value = '[{}]' WHERE stage = 'gate'",
        "UPDATE stages SET value = 'no JSON' WHERE stage = 'gate'",
        "ALTER TABLE evaluations RENAME COLUMN exam TO else_where",
    ],
)
def test_an_old_ledger_that_cannot_be_brought_up_to_date_is_refused_and_left_alone(home: Home, damage: str) -> None:
    execute(home, damage)
    before = contents(home)
    with pytest.raises(ShoalError, match=r"older shoal's ledger .*: read it with the shoal that wrote it, or choose"):
        Ledger(home.ledger)
    assert contents(home) == before


def test_a_newer_ledger_is_refused_in_one_line_and_left_alone(home: Home) -> None:
    execute(home, "PRAGMA user_version = 99")
    before = contents(home)
    with pytest.raises(ShoalError, match=r"a newer shoal wrote it \(schema 99, .*\): upgrade shoal, or choose another"):
        Ledger(home.ledger)
    assert contents(home) == before


def test_a_result_in_an_unknown_form_is_reported_in_one_line(home: Home) -> None:
    execute(home, "UPDATE stages SET value = '{}' WHERE stage = 'search'")
    with pytest.raises(ShoalError, match=r"demo-1: its search in .* was kept by another version of shoal \(Field req"):
        read_cycle(Ledger(home.ledger), home, "demo-1")
