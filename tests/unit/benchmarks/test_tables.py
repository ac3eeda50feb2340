"""The figures of README and docs are those in benchmarks/results, each with its machine, commit and date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import describe, names
from benchmarks.record import RESULTS, save
from benchmarks.tables.pages import PAGES, TABLES, used_in, with_tables
from fixtures.folders import ROOT


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_a_page_are_made_from_the_results(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == with_tables(text), "run: python -m benchmarks tables"


def test_every_table_is_on_a_page() -> None:
    assert {name for page in PAGES for name in used_in((ROOT / page).read_text(encoding="utf-8"))} == TABLES.keys()


def test_every_result_says_what_was_measured_where_and_when() -> None:
    for path in RESULTS.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["command"].startswith(f"python -m benchmarks {path.stem}")
        assert len(record["commit"]) >= 12
        assert record["date"] >= "2026-11-26"
        assert record["machine"]["cores"] >= 1
        assert record["figures"]


def test_every_benchmark_can_be_listed_with_what_it_measures() -> None:
    assert all(describe(name).endswith((".", "…")) for name in names())


def test_a_changed_result_changes_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.record.RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.record.load.__defaults__", (tmp_path,))
    page = "before\n<!-- table: processes -->\n| old |\n<!-- end of table -->\nafter\n"
    for rate in (41.0, 42.0):
        save("processes", ["processes"], {"candidates_per_minute": {"2 × 1": rate}}, tmp_path)
        made = with_tables(page)
        assert f"| 2 × 1 | {rate:.0f} |\n" in made
        assert made.startswith("before\n<!-- table: processes -->\n| workers × threads |")
        assert made.endswith("<!-- end of table -->\nafter\n")
