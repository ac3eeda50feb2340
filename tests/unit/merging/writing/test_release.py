from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from fixtures.tiny_models import pool, recipe_of
from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import Contents, write_folder, write_release
from merging.writing.shards import Shard, plan_shards

TWO = Partition.even(2, 2, modules_apart=True, ends_apart=True)
Checkpoints = dict[ModelId, Checkpoint]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """A pool whose first model has a tokenizer, a chat template and a generation config."""
    found = pool(tmp_path, "llama")
    vocabulary = WordLevel({"[UNK]": 0, "shoal": 1, "of": 2, "fish": 3}, unk_token="[UNK]")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(vocabulary), unk_token="[UNK]")
    tokenizer.chat_template = "{{ messages[0].content }} fish"
    tokenizer.save_pretrained(tmp_path / "model-0")
    GenerationConfig(eos_token_id=[2, 7], max_length=40).save_pretrained(tmp_path / "model-0")
    (tmp_path / "model-0" / "notes.txt").write_text("not part of a model")
    return found


@pytest.fixture
def recipe(checkpoints: Checkpoints) -> WeightMerge:
    return recipe_of("task_arithmetic", list(checkpoints), TWO, dtype="bfloat16")


def test_a_release_holds_all_that_a_model_needs_and_its_hashes_are_true(
    checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path
) -> None:
    target = tmp_path / "releases" / "one"
    hashes = write_release(recipe, checkpoints, target, {"README.md": "# Fische — 魚\n".encode(), "shoal.json": b"{}"})
    assert sorted(path.name for path in target.iterdir()) == sorted(hashes) == list(hashes)
    assert {"model.safetensors", "config.json", "generation_config.json", "README.md", "shoal.json"} <= hashes.keys()
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "mergekit_config.yml"} <= hashes.keys()
    assert "notes.txt" not in hashes
    assert hashes == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()}
    assert AutoModelForCausalLM.from_pretrained(target).generation_config.eos_token_id == [2, 7]
    tokenizer = AutoTokenizer.from_pretrained(target)
    chat = [{"role": "user", "content": "shoal of"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "shoal of fish"
    recipe_file = yaml.safe_load((target / "mergekit_config.yml").read_text())
    assert recipe_file["base_model"] == str(recipe.base)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_config_has_the_release_s_dtype_and_otherwise_the_base_s_settings_without_its_folder(
    key: str, checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path
) -> None:
    path = tmp_path / "model-0" / "config.json"
    config = json.loads(path.read_text())
    del config["dtype"]
    path.write_text(json.dumps({**config, "_name_or_path": "/home/somebody", key: "float32"}))
    write_release(recipe, checkpoints, tmp_path / "one", {})
    assert json.loads((tmp_path / "one" / "config.json").read_text()) == {**config, key: "bfloat16"}


def test_shards_are_small_enough_and_load_with_transformers(
    checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path
) -> None:
    whole, split = tmp_path / "whole", tmp_path / "split"
    write_release(recipe, checkpoints, whole, {})
    hashes = write_release(recipe, checkpoints, split, {}, max_shard_bytes=9_000)
    shards = sorted(split.glob("*.safetensors"))
    assert [path.name for path in shards] == [f"model-{n:05d}-of-00006.safetensors" for n in range(1, 7)]
    for path in shards:
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            sizes = [tensor.numel() * tensor.element_size() for tensor in map(file.get_tensor, file.keys())]
        assert sum(sizes) <= 9_000
    index = json.loads((split / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(path.stat().st_size for path in shards) - sum(
        8 + int.from_bytes(path.read_bytes()[:8], "little") for path in shards
    )
    assert "model.safetensors.index.json" in hashes
    ones, others = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (whole, split))
    assert all(torch.equal(ones[name], others[name]) for name in ones)


def test_shards_are_filled_in_order_and_a_large_tensor_has_its_own() -> None:
    sizes = {"a": 3, "b": 3, "c": 20, "d": 4, "e": 6, "f": 1}
    assert [shard.tensors for shard in plan_shards(sizes, 10)] == [("a", "b"), ("c",), ("d", "e"), ("f",)]
    assert plan_shards(sizes, 37) == (Shard("model.safetensors", tuple(sizes)),)


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "gpt2")
    write_release(recipe_of("slerp", list(checkpoints), TWO), checkpoints, tmp_path / "one", {})
    names = Checkpoint.open(tmp_path / "one").names
    assert "transformer.wte.weight" in names
    assert "lm_head.weight" not in names


def test_writing_twice_gives_the_same_bytes(checkpoints: Checkpoints, tmp_path: Path) -> None:
    recipe = recipe_of("dare_ties", list(checkpoints), TWO)
    hashes = [write_release(recipe, checkpoints, tmp_path / name, {}) for name in ("one", "two")]
    assert hashes[0] == hashes[1]


def test_the_skeleton_that_is_given_gives_config_and_tokenizer(checkpoints: Checkpoints, tmp_path: Path) -> None:
    recipe = recipe_of("linear", list(checkpoints)[1:], TWO)
    assert "tokenizer.json" not in write_release(recipe, checkpoints, tmp_path / "bare", {})
    hashes = write_release(recipe, checkpoints, tmp_path / "dressed", {}, config_source=tmp_path / "model-0")
    assert "tokenizer.json" in hashes


@contextmanager
def no_file_larger_than(limit: int) -> Iterator[None]:
    """The kernel itself refuses to write beyond this size, as it does where the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 100, 20_000])
def test_a_write_that_fails_leaves_nothing_behind_and_can_be_done_again(
    limit: int, checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path
) -> None:
    releases = tmp_path / "releases"
    releases.mkdir()
    with (
        no_file_larger_than(limit),
        pytest.raises(MergingError, match=r"releases/one: cannot be written \(File too large\): make room"),
    ):
        write_release(recipe, checkpoints, releases / "one", {})
    assert list(releases.iterdir()) == []
    assert write_release(recipe, checkpoints, releases / "one", {})


def test_a_disk_that_fills_up_while_files_are_secured_leaves_nothing_behind(
    checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases, real = tmp_path / "releases", os.fsync
    calls: list[int] = []

    def fail_at(position: int) -> None:
        def fsync(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) == position:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        calls.clear()
        monkeypatch.setattr(os, "fsync", fsync)

    fail_at(-1)
    hashes = write_release(recipe, checkpoints, tmp_path / "counted", {})
    assert len(calls) == len(hashes) + 2  # each file, the new folder, and the one above when it has its name
    for position in (1, len(hashes), len(hashes) + 1):
        fail_at(position)
        with pytest.raises(MergingError, match=r"one: cannot be written \(No space left on device\)"):
            write_release(recipe, checkpoints, releases / "one", {})
        assert list(releases.iterdir()) == []


def test_what_a_killed_run_left_is_cleared_away(checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path) -> None:
    left = tmp_path / ".one.partial"
    left.mkdir()
    (left / "model.safetensors").write_text("half")
    write_release(recipe, checkpoints, tmp_path / "one", {})
    assert not left.exists()
    Checkpoint.open(tmp_path / "one").verify()


def test_a_folder_has_one_writer_and_a_second_one_leaves_its_work_alone(tmp_path: Path) -> None:
    shapes = {"a": (4,), "b": (4,)}
    refused = []

    def make(name: str, _: torch.Tensor) -> torch.Tensor:
        if name == "b":  # half way
            with pytest.raises(MergingError) as caught:
                write_folder(tmp_path / "one", Contents(shapes, "float32", lambda _, __: torch.ones(4), {}))
            refused.append(str(caught.value))
        return torch.zeros(4)

    hashes = write_folder(tmp_path / "one", Contents(shapes, "float32", make, {}))
    assert refused == [f"{tmp_path / 'one'}: another process is writing it: wait for it, or give another folder"]
    weights = (tmp_path / "one" / "model.safetensors").read_bytes()
    assert hashes == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_source_that_breaks_in_the_middle_leaves_nothing_behind(
    checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path
) -> None:
    path = checkpoints[recipe.sources[0]].folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4:] = b"\xff\xff\xff\x7f"  # NaN
    path.write_bytes(content)
    broken = {source: Checkpoint.open(checkpoint.folder) for source, checkpoint in checkpoints.items()}
    with pytest.raises(MergingError, match=r"tensor \S+: the merge"):
        write_release(recipe, broken, tmp_path / "releases" / "one", {})
    assert list((tmp_path / "releases").iterdir()) == []


def test_a_folder_that_is_there_is_never_touched(checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path) -> None:
    write_release(recipe, checkpoints, tmp_path / "one", {"README.md": b"first"})
    with pytest.raises(MergingError, match="one: already exists"):
        write_release(recipe, checkpoints, tmp_path / "one", {"README.md": b"second"})
    assert (tmp_path / "one" / "README.md").read_text() == "first"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "../README.md"])
def test_a_document_may_not_take_another_file_s_name(
    name: str, checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path
) -> None:
    with pytest.raises(MergingError, match="documents: got "):
        write_release(recipe, checkpoints, tmp_path / "one", {name: b"x"})
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("wrong", [{"num_attention_heads": 0}, {"hidden_size": "32"}, {"rope_parameters": "x\ny"}])
def test_a_config_that_transformers_cannot_build_is_said_in_one_line(
    wrong: dict[str, object], checkpoints: Checkpoints, recipe: WeightMerge, tmp_path: Path
) -> None:
    path = tmp_path / "model-0" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(MergingError, match=r"^\S+config.json: transformers cannot build this model \([^\n]+\)$"):
        write_release(recipe, checkpoints, tmp_path / "one", {})
