"""The evidence in a release's folder, and what is refused when a stranger's is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.release import evidence
from bot.release.evidence import (
    ITEMS_FILE,
    TASKS_FOLDER,
    WATCHLIST_FILE,
    collect_report_items,
    read_evidence,
    render_watchlist,
)
from bot.release.folder import is_editable
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import EvalItem
from evaluation.scores import ItemScore
from fixtures.cycles import small_watchlist
from zoo.questions import TASKS

ITEM = EvalItem("math", "m:acc", "digest", "a")
STATED = collect_report_items("eval set", [ITEM], [ItemScore("math", "m:acc", "a", 1.0, None)], "cpu", 16)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    (tmp_path / "shoal" / "tasks").mkdir(parents=True)
    for path in TASKS.iterdir():
        if path.is_file():
            (tmp_path / "shoal" / "tasks" / path.name).write_bytes(path.read_bytes())
    (tmp_path / WATCHLIST_FILE).write_text(render_watchlist(small_watchlist(), (".",)))
    (tmp_path / ITEMS_FILE).write_text(STATED.model_dump_json())
    return tmp_path


def test_the_watchlist_of_a_release_asks_the_same_and_goes_nowhere(release: Path) -> None:
    found, own = read_evidence(release).watchlist, small_watchlist()
    assert found.asked_skills == own.asked_skills and found.split_sizes == own.split_sizes
    assert found.search == own.search and found.digest == own.digest
    assert (found.publish.mode, found.publish.namespace, found.schedule) == ("off", None, None)
    assert found.workers == Watchlist.model_fields["workers"].default
    assert found.task_paths == (release / "shoal" / "tasks",)


def test_the_item_scores_are_read_as_they_were_written(release: Path) -> None:
    assert read_evidence(release).items == STATED
    assert dict(STATED.tasks[0].scores) == {"a": 1.0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (ITEMS_FILE, "[]", "shoal/report_items.json: file: "),
        (ITEMS_FILE, '{"version": 1}', "shoal/report_items.json: eval_set: Field required"),
        (
            ITEMS_FILE,
            STATED.model_dump_json().replace('"version":1', '"version":2'),
            "version is 2, this shoal reads 1",
        ),
        (ITEMS_FILE, STATED.model_dump_json().replace("1.0", '"high"'), "shoal/report_items.json: tasks.0.scores.a: "),
        (WATCHLIST_FILE, "name: [", "not valid YAML"),
        (WATCHLIST_FILE, None, "shoal/watchlist.yml: the release does not have it"),
        (ITEMS_FILE, None, "shoal/report_items.json: the release does not have it"),
    ],
)
def test_evidence_that_is_missing_or_malformed_is_named(
    release: Path, name: str, content: str | None, message: str
) -> None:
    (release / name).unlink()
    if content is not None:
        (release / name).write_text(content)
    with pytest.raises(ShoalError, match=message.replace("[", r"\[")):
        read_evidence(release)


def test_a_person_may_edit_the_card_and_its_plots_and_no_picture_that_was_scored_or_asked_about() -> None:
    assert all(map(is_editable, ("README.md", "pareto.png", "pareto.svg")))
    assert not any(map(is_editable, (f"{TASKS_FOLDER}/boards/0.png", "pictures/example-1.png", ITEMS_FILE)))


def test_a_huge_file_of_items_is_not_read(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "LARGEST_ITEMS", 10)
    with pytest.raises(ShoalError, match="more than 10 are not read"):
        read_evidence(release)
