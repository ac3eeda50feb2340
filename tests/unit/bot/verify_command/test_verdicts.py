"""The three verdicts on a release: what is equal, and what is named where something is not."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bot.release.evidence import ReportItems, collect_report_items
from bot.verify_command.verdicts import (
    CardScore,
    CheckOutcome,
    ReleaseCheck,
    Verification,
    compare_files,
    compare_scores,
    compare_tensors,
)
from evaluation.eval_set import EvalItem
from evaluation.scores import ItemScore

SCORES = (ItemScore("math", "m:acc", "a", 1.0, None), ItemScore("math", "m:acc", "b", 0.0, None))
GUARDED = ItemScore("trivia", "t:acc", "c", 1.0, None)


def stated(*scores: ItemScore) -> ReportItems:
    items = [EvalItem(score.skill, score.task, "digest", score.item) for score in scores]
    return collect_report_items("eval set", items, scores, "cpu", 16)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A release with a card, and what its recipe makes."""
    rebuilt = tmp_path / "rebuilt"
    rebuilt.mkdir()
    save_file({"head": torch.ones(2, 2), "norm": torch.arange(3.0)}, rebuilt / "model.safetensors")
    (rebuilt / "config.json").write_text('{"a": 1}')
    release = tmp_path / "release"
    shutil.copytree(rebuilt, release)
    (release / "README.md").write_text("a card")
    return release, rebuilt


def test_a_release_as_its_recipe_makes_it_is_equal(folders: tuple[Path, Path]) -> None:
    assert compare_files(*folders) == ReleaseCheck(
        "bytes", CheckOutcome.EQUAL, "2 files that the recipe makes: config.json, model.safetensors"
    )
    assert compare_tensors(*folders) == ReleaseCheck("tensors", CheckOutcome.EQUAL, "2 tensors, bit by bit")


def test_a_changed_value_is_named_with_its_file_and_its_tensor(folders: tuple[Path, Path]) -> None:
    release, _ = folders
    tensors = load_file(release / "model.safetensors")
    tensors["norm"][1] += 0.25
    save_file(tensors, release / "model.safetensors")
    assert compare_files(*folders).detail.startswith("model.safetensors: ")
    found = compare_tensors(*folders)
    assert found.outcome is CheckOutcome.DIFFERENT
    assert found.detail == "norm: 1 of 3 values differ, at most by 0.25"


def test_a_changed_sign_of_zero_is_a_difference_in_bits(folders: tuple[Path, Path]) -> None:
    release, _ = folders
    tensors = load_file(release / "model.safetensors")
    tensors["norm"][0] = -0.0
    save_file(tensors, release / "model.safetensors")
    assert compare_tensors(*folders).detail == "norm: some of 3 values differ, at most by 0"


def test_a_changed_config_is_named_and_leaves_the_tensors_equal(folders: tuple[Path, Path]) -> None:
    release, _ = folders
    (release / "config.json").write_text('{"a": 2}')
    assert compare_files(*folders).detail == "config.json: other bytes, 8 in both"
    (release / "config.json").write_text('{"a": 22}')
    assert compare_files(*folders).detail == "config.json: 9 bytes, rebuilt 8"
    assert compare_tensors(*folders).outcome is CheckOutcome.EQUAL


def test_files_and_tensors_that_only_one_side_has_are_named(folders: tuple[Path, Path]) -> None:
    release, _ = folders
    save_file({"backdoor": torch.ones(1)}, release / "model-2.safetensors")
    assert compare_files(*folders).detail == "model-2.safetensors: the recipe does not make it"
    assert compare_tensors(*folders).detail == "backdoor: the recipe does not make it"
    (release / "model-2.safetensors").unlink()
    save_file({"head": torch.ones(2, 2, dtype=torch.float16)}, release / "model.safetensors")
    assert compare_tensors(*folders).detail == "head: float16 [2, 2], rebuilt float32 [2, 2]"
    (release / "model.safetensors").unlink()
    assert compare_files(*folders).detail == "model.safetensors: the release does not have it"
    assert compare_tensors(*folders).detail == "head: the release does not have it"


def test_the_folders_of_a_pipeline_s_components_are_compared_too(tmp_path: Path) -> None:
    rebuilt, release = tmp_path / "rebuilt", tmp_path / "release"
    for folder in ("unet", "vae"):
        (rebuilt / folder).mkdir(parents=True)
        save_file({"conv": torch.ones(2)}, rebuilt / folder / "diffusion_pytorch_model.safetensors")
    shutil.copytree(rebuilt, release)
    (release / "shoal" / "tasks").mkdir(parents=True)
    (release / "shoal" / "tasks" / "judge.py").write_text("")
    assert compare_files(release, rebuilt).outcome is compare_tensors(release, rebuilt).outcome is CheckOutcome.EQUAL
    (release / "unet" / "model.py").write_text("")
    assert compare_files(release, rebuilt).detail == "unet/model.py: the recipe does not make it"
    save_file({"conv": torch.ones(2), "bias": torch.ones(1)}, release / "vae" / "diffusion_pytorch_model.safetensors")
    assert compare_tensors(release, rebuilt).detail == "vae.bias: the recipe does not make it"
    assert compare_files(release, rebuilt).detail.startswith("vae/diffusion_pytorch_model.safetensors: ")


def test_scores_are_equal_where_items_and_card_agree() -> None:
    found = compare_scores(
        stated(*SCORES, GUARDED), (SCORES[0], GUARDED), [CardScore("m", "acc", 0.5)], all_items=False
    )
    assert found == ReleaseCheck(
        "scores", CheckOutcome.EQUAL, "2 of 3 report scores; the card's 1 results are the means of all"
    )


def test_the_first_item_with_another_score_is_named_with_both() -> None:
    measured = (SCORES[0], ItemScore("math", "m:acc", "b", 1.0, None))
    found = compare_scores(stated(*SCORES), measured, [CardScore("m", "acc", 0.5)], all_items=True)
    assert found.outcome is CheckOutcome.DIFFERENT
    assert found.detail == "m:acc: item b: the release states 0, measured 1"
    unknown = (ItemScore("math", "m:acc", "z", 1.0, None),)
    assert compare_scores(stated(*SCORES), unknown, [], all_items=False).detail == (
        "m:acc: item z: measured 1, but the release states no score of it"
    )


def test_scores_that_nothing_can_confirm_are_found() -> None:
    card = [CardScore("m", "acc", 0.5)]
    made_up = compare_scores(stated(*SCORES, GUARDED), SCORES, card, all_items=False)
    assert made_up.outcome is CheckOutcome.DIFFERENT
    assert made_up.detail == "t:acc: the release states scores in trivia, which its watchlist does not ask"
    added = ItemScore("math", "m:acc", "z", 1.0, None)
    assert compare_scores(stated(*SCORES, added), SCORES, [CardScore("m", "acc", 2 / 3)], all_items=True).detail == (
        "m:acc: item z: the release states a score, but the task has no such report item"
    )
    assert compare_scores(stated(), (), card, all_items=True).detail == "the release states no scores"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_config.json", "modeling_shoal.py"])
def test_what_a_library_would_load_or_run_besides_is_named(folders: tuple[Path, Path], name: str) -> None:
    (folders[0] / name).write_bytes(b"anything")
    assert compare_files(*folders).detail == f"{name}: the recipe does not make it"


def test_weights_that_are_damaged_differ(folders: tuple[Path, Path]) -> None:
    (folders[0] / "model.safetensors").write_bytes(b"short")
    found = compare_tensors(*folders)
    assert found.outcome is CheckOutcome.DIFFERENT
    assert found.detail.startswith("model.safetensors: ")


@pytest.mark.parametrize(
    ("card", "difference"),
    [
        ([CardScore("m", "acc", 0.5002)], "m acc: its metadata says 0.5002, the mean of the item scores is 0.5000"),
        ([CardScore("n", "acc", 0.5)], "it has a result of n acc where the release states one of m:acc"),
        ([CardScore("m", "acc", 0.5)] * 2, "its metadata has 2 results, and the release states 1"),
        ([CardScore("m", "acc", math.nan)], "m acc: its metadata says nan, the mean of the item scores is 0.5000"),
        ([], "its metadata has no results"),
    ],
)
def test_a_card_that_says_something_else_than_the_items_is_found(card: list[CardScore], difference: str) -> None:
    found = compare_scores(stated(*SCORES), SCORES, card, all_items=True)
    assert (found.outcome, found.detail) == (CheckOutcome.DIFFERENT, f"README.md: {difference}")


def test_only_three_equal_verdicts_make_an_equal_release() -> None:
    equal, open_ = ReleaseCheck("bytes", CheckOutcome.EQUAL, ""), ReleaseCheck("scores", CheckOutcome.UNCHECKED, "")
    assert Verification("a/b", "0" * 40, (equal, equal)).is_equal
    assert not Verification("a/b", None, (equal, open_)).is_equal
    assert Verification("a/b", None, (equal, open_)).as_json()["equal"] is False
