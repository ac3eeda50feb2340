"""The demo's repos: each decoy is a good repo but for one thing."""

import io
import json
import struct
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load, load_file

from zoo.decoys import decoys
from zoo.populate import models, populate
from zoo.repo import BASE, DEMO_TAG, LANGUAGE, MATH, HubRepo

DECOYS = {repo.refused_for: repo for repo in decoys()}
MODELS = {repo.name: repo for repo in models()}


def _bytes(repo: HubRepo, file: str) -> bytes:
    content = repo.files[file]
    return content.read_bytes() if isinstance(content, Path) else content


def _front_matter(repo: HubRepo) -> dict:
    return yaml.safe_load(_bytes(repo, "README.md").decode().split("---\n")[1])


def _shapes(repo: HubRepo) -> dict:
    return _header(_bytes(repo, "model.safetensors"))


def _header(raw: bytes) -> dict:
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _faults(repo: HubRepo) -> set[str]:
    """Everything that distinguishes a repo from a good specialist of the zoo."""
    card, files, found = _front_matter(repo), set(repo.files), set()
    if repo.gated:
        found.add("gated")
    if card["license"] not in ("apache-2.0", "mit"):
        found.add("unknown licence" if card["license"] == "unknown" else "licence forbids it")
    if "shoal-merge" in card["tags"]:
        found.add("own earlier merge")
    if "adapter_config.json" in files:
        raw = _bytes(repo, "adapter_model.safetensors")
        width = next(shape[1] for name, (_, shape) in _header(raw).items() if "lora_A" in name)
        fits = width == json.loads(_bytes(MODELS[BASE], "config.json"))["hidden_size"]
        return found | ({"adapter"} if fits else {"adapter for another base"})
    if "auto_map" in json.loads(_bytes(repo, "config.json")) or any(name.endswith(".py") for name in files):
        found.add("custom code")
    if _bytes(repo, "tokenizer.json") != _bytes(MODELS[BASE], "tokenizer.json"):
        found.add("other tokenizer")
    if "model.safetensors" not in files:
        return found | {"pickle only"}
    if _shapes(repo) != _shapes(MODELS[BASE]):
        found.add("other shapes")
    raw = _bytes(repo, "model.safetensors")
    if any(raw == _bytes(other, "model.safetensors") for other in MODELS.values() if other.name != repo.name):
        found.add("same weights under another name")
    if not all(bool(tensor.isfinite().all()) for tensor in load(raw).values()):
        found.add("NaN weights")
    return found


@pytest.mark.parametrize("reason", DECOYS)
def test_each_decoy_has_its_one_fault_and_no_other(reason):
    assert _faults(DECOYS[reason]) == {reason}


def test_the_models_of_the_zoo_have_no_fault():
    assert [_faults(repo) for repo in MODELS.values()] == [set(), set(), set()]


def test_there_is_a_decoy_for_every_reason():
    assert set(DECOYS) == {
        "pickle only",
        "custom code",
        "other shapes",
        "other tokenizer",
        "licence forbids it",
        "unknown licence",
        "gated",
        "same weights under another name",
        "adapter for another base",
        "own earlier merge",
        "NaN weights",
    }


def test_every_repo_carries_the_demo_tag_and_a_card_that_names_its_parent():
    for repo in (*MODELS.values(), *DECOYS.values()):
        card = _front_matter(repo)
        assert DEMO_TAG in card["tags"]
        assert card["pipeline_tag"] == "text-generation"
        if repo.name != BASE:
            merged = repo.refused_for == "own earlier merge"
            assert card["base_model"] == ([MATH, LANGUAGE] if merged else [BASE])
            assert card["base_model_relation"] in ("finetune", "merge", "adapter")


def test_a_repeated_build_gives_the_same_bytes():
    for first, second in zip(decoys(), decoys(), strict=True):
        assert {name: _bytes(first, name) for name in first.files} == {
            name: _bytes(second, name) for name in second.files
        }


def test_the_pickle_holds_plain_tensors_only():
    content = torch.load(io.BytesIO(_bytes(DECOYS["pickle only"], "pytorch_model.bin")), weights_only=True)
    assert {name: tensor.shape for name, tensor in content.items()} == {
        name: tensor.shape for name, tensor in load_file(MODELS[MATH].files["model.safetensors"]).items()
    }


def test_populate_publishes_the_models_first_and_every_repo_once():
    published: dict[str, dict] = {}

    def publish(repo, files, **facts):
        assert repo not in published and files
        published[repo] = facts

    populate(publish)
    assert list(published)[:3] == [BASE, MATH, LANGUAGE]
    assert set(published) == set(MODELS) | {repo.name for repo in DECOYS.values()}
    assert {repo for repo, facts in published.items() if facts["gated"]} == {DECOYS["gated"].name}
    least = min(published[name]["downloads"] for name in MODELS)
    assert all(facts["downloads"] < least for repo, facts in published.items() if repo not in MODELS)
