"""What `shoal verify` refuses to run, to fetch or to believe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.release.evidence import ITEMS_FILE, WATCHLIST_FILE, collect_report_items, render_watchlist
from bot.release.publish import PROVENANCE
from bot.release.write import render_provenance
from bot.verify_command.fetch import fetch_sources, is_release_file
from bot.verify_command.verdicts import CheckOutcome
from bot.verify_command.verify import Provenance, Verifier, read_provenance
from evaluation.eval_set import EvalItem
from evaluation.scores import ItemScore
from fixtures.cycles import Listener, small_watchlist
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

SOURCE = ModelId("reef/cod", "0" * 40)
RECIPE = WeightMerge.single(SOURCE, Partition.even(1, 1, False, False), "float32")


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    """One that trusts nobody, and whose Hub nobody is at."""
    return Verifier(Hub("http://127.0.0.1:9", "token"), Home(tmp_path / "home"), Listener(), items=5, trusted=False)


def write_release(folder: Path, task_folder: str) -> Path:
    """A release whose watchlist names a folder of tasks."""
    (folder / "shoal" / "tasks").mkdir(parents=True)
    (folder / PROVENANCE).write_text(render_provenance(RECIPE, SOURCE, "small-1", KINDS["language"]))
    text = render_watchlist(small_watchlist(), ()) + f"task_folders: ['{task_folder}']\n"
    (folder / WATCHLIST_FILE).write_text(text)
    item = EvalItem("math", "m:acc", "digest", "a")
    items = collect_report_items("set", [item], [ItemScore("math", "m:acc", "a", 1.0, None)], "cpu", 16)
    (folder / ITEMS_FILE).write_text(items.model_dump_json())
    return folder


def test_tasks_of_a_release_are_not_run_unless_they_are_trusted(verifier: Verifier, tmp_path: Path) -> None:
    found = verifier.check_scores(write_release(tmp_path / "release", "tasks"))
    assert found.outcome is CheckOutcome.UNCHECKED
    assert found.detail == (
        "the release brings tasks of its own (shoal/tasks/), which may run any code; read them, then add "
        "--trust-remote-code"
    )


@pytest.mark.parametrize("outside", [".", "../..", "/tmp"])
def test_tasks_from_elsewhere_are_not_run_even_if_trusted(verifier: Verifier, tmp_path: Path, outside: str) -> None:
    found = replace(verifier, trusted=True).check_scores(write_release(tmp_path / "release", outside))
    assert (found.outcome, found.detail) == (
        CheckOutcome.UNCHECKED,
        "shoal/watchlist.yml: task_folders: must be in shoal/tasks",
    )


def test_only_plain_names_of_a_release_are_fetched() -> None:
    assert all(
        map(is_release_file, ("README.md", "model-00001-of-00002.safetensors", "shoal/tasks/jsonl.py", "unet/run.py"))
    )
    for name in (
        "../x",
        "/etc/passwd",
        "shoal/../x",
        ".git/config",
        "shoal/.x",
        "other/x",
        "a\nb",
        "shoal//x",
        "unet/a/b",
        "",
    ):
        assert not is_release_file(name), name


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("[]", "shoal.json: is not a JSON object"),
        ("[" * 100_000, r"shoal.json: is not readable as JSON, or missing \(RecursionError\)"),
        ("{}", "shoal.json: has no recipe or no config_source"),
        ('{"recipe": {"kind": "magic"}, "config_source": {}}', "shoal.json: its recipe cannot be read: recipe.kind"),
        ('{"recipe": {}, "config_source": {}}', "shoal.json: its recipe cannot be read"),
    ],
)
def test_a_record_that_is_no_recipe_is_refused(tmp_path: Path, record: str, message: str) -> None:
    (tmp_path / PROVENANCE).write_text(record)
    with pytest.raises(ShoalError, match=message):
        read_provenance(tmp_path)


def test_a_folder_that_is_no_release_is_named_with_what_it_lacks(verifier: Verifier, tmp_path: Path) -> None:
    with pytest.raises(
        ShoalError, match=rf"^{tmp_path}: is no release of shoal, for it has no shoal.json; name another"
    ):
        verifier.verify(str(tmp_path))


def test_a_changed_recipe_does_not_have_its_digest(tmp_path: Path) -> None:
    record = json.loads(render_provenance(RECIPE, SOURCE, "small-1", KINDS["language"]))
    (tmp_path / PROVENANCE).write_text(json.dumps(record))
    assert read_provenance(tmp_path) == Provenance(RECIPE, SOURCE)
    record["recipe"]["dtype"] = "bfloat16"
    (tmp_path / PROVENANCE).write_text(json.dumps(record))
    with pytest.raises(ShoalError, match=r"shoal\.json: recipe_digest is not that of its recipe"):
        read_provenance(tmp_path)


@pytest.mark.parametrize("model", [ModelId("/etc"), ModelId("reef/cod"), replace(SOURCE, adapter=ModelId("/home/me"))])
def test_sources_that_are_not_pinned_on_the_hub_are_not_read(verifier: Verifier, model: ModelId) -> None:
    found, problem = fetch_sources(verifier.hub, verifier.home, {model}, verifier.narrator)
    assert (found, problem) == ({}, f"{model}: is not pinned to a commit of the Hub")


@pytest.mark.parametrize("text", ["nobody", "./no/folder", "a/b/c", "me/merge@", "a b/c"])
def test_what_is_neither_a_folder_nor_a_repo_is_refused_before_the_hub_is_asked(verifier: Verifier, text: str) -> None:
    with pytest.raises(
        ShoalError, match=rf"^RELEASE: got '{text}': is neither a folder here nor a Hub repo; write owner/"
    ):
        verifier.verify(text)
