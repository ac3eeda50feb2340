from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from mergekit.scripts import multimerge, run_yaml
from safetensors.torch import load_file
from tiny_models import pool, recipe_of

from merging.checkpoint import Checkpoint
from merging.dataflow.folding import folding_rule
from merging.dataflow.mergekit import path_to_mergekit_yaml
from merging.dataflow.path import Hop, PathRecipe
from merging.recipe import Groups, Recipe, SourceRef
from merging.release import RECIPE_NAME, write_release

LAYERS = 3
WHOLE = Groups.even(LAYERS, 1, False, False)
HOPS = (Hop(1, 0, 0.8), Hop(0, 1, 1.0), Hop(0, 2, 1.35))


def mergekit(command: Any, *arguments: str) -> None:
    """Run one of mergekit's own commands, as people do."""
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def written_yaml(path: PathRecipe, checkpoints: dict[SourceRef, Checkpoint], target: Path, family: str) -> Path:
    """The path's YAML with folders in place of repos."""
    folders = {source: str(checkpoint.folder) for source, checkpoint in checkpoints.items()}
    names = next(iter(checkpoints.values())).names
    text = path_to_mergekit_yaml(path, folding_rule({"model_type": family}, family), names, folders)
    target.write_text(text)
    return target


def same_weights(one: Path, other: Path) -> None:
    ours, theirs = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert weight.dtype == theirs[name].dtype
        assert torch.equal(weight, theirs[name]), name


@pytest.mark.parametrize(("kind", "family"), [("llama", "llama"), ("olmo2", "olmo2"), ("qwen2", "qwen2")])
def test_mergekit_makes_our_tensors_of_our_recipe(kind: str, family: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, sources=2, layers=LAYERS, dtype=torch.bfloat16)
    parts = tuple(Recipe.single(source, WHOLE, "bfloat16") for source in checkpoints)
    path = PathRecipe(parts, HOPS, 0, 1)  # ends that are not the first and last hop's models
    write_release(path, checkpoints, tmp_path / "ours", {})
    config = written_yaml(path, checkpoints, tmp_path / "recipe.yml", family)
    mergekit(run_yaml.main, str(config), str(tmp_path / "theirs"), "--no-copy-tokenizer")
    same_weights(tmp_path / "ours", tmp_path / "theirs")


def test_a_path_through_a_merge_is_a_recipe_of_several_stages(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=3, layers=LAYERS)
    merge = recipe_of("task_arithmetic", list(checkpoints), WHOLE)
    path = PathRecipe((Recipe.single(list(checkpoints)[1], WHOLE, "float32"), merge), HOPS, 0, 1)
    write_release(path, checkpoints, tmp_path / "ours", {})
    config = written_yaml(path, checkpoints, tmp_path / "recipe.yml", "llama")
    assert [stage.get("name") for stage in yaml.safe_load_all(config.read_text())] == ["merge-1", None]
    between, theirs = tmp_path / "between", tmp_path / "theirs"
    mergekit(multimerge.main, str(config), "--out-path", str(theirs), "-I", str(between), "--no-copy-tokenizer")
    ours, found = load_file(tmp_path / "ours" / "model.safetensors"), load_file(theirs / "model.safetensors")
    assert ours.keys() == found.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, found[name], rtol=1e-6, atol=1e-7)


def test_what_mergekit_cannot_say_is_said_in_words(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "gemma2", sources=2, layers=LAYERS)
    parts = tuple(Recipe.single(source, WHOLE, "float32") for source in checkpoints)
    write_release(PathRecipe(parts, HOPS, 0, 0), checkpoints, tmp_path / "scaled", {})
    text = (tmp_path / "scaled" / RECIPE_NAME).read_text()
    assert text.startswith("# The norms behind this family's layers multiply by 1 + weight")
    assert "scale:" not in text
    plain = tuple(Hop(hop.part, hop.layer, 1.0) for hop in HOPS)
    write_release(PathRecipe(parts, plain, 0, 0), checkpoints, tmp_path / "plain", {})
    assert not re.search("^#", (tmp_path / "plain" / RECIPE_NAME).read_text())
