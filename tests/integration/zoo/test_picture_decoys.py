"""The repos of the demo that draws: each decoy is a good pipeline but for one thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load

from merging.pipelines.index import find_files_fault, find_index_fault
from merging.pipelines.settings import pipeline_mismatch
from merging.sources.model_config import read_model_config
from zoo.pictures.decoys import picture_decoys
from zoo.pictures.populate import picture_models, populate_pictures
from zoo.pictures.repo import BASE, MODELS, PICTURE_TAG
from zoo.repo import HubRepo

DECOYS = {repo.refused_for: repo for repo in picture_decoys()}
GOOD = {repo.name: repo for repo in picture_models()}

BY_INDEX = {
    "custom pipeline": "custom code",
    "custom component": "unet_plus.UNetPlus",
    "no text-to-image pipeline": "not a text-to-image pipeline",
}
BY_FILES = {"pickle only": "pickled weights alone", "lacks a component": "lacks its component vae"}
BY_CONFIGS = {
    "other prediction": "scheduler.prediction_type",
    "other latents": "vae.scaling_factor",
    "other text width": "cross_attention_dim",
}


def content(repo: HubRepo, file: str) -> bytes:
    found = repo.files[file]
    return found.read_bytes() if isinstance(found, Path) else found


def card(repo: HubRepo) -> dict:
    return yaml.safe_load(content(repo, "README.md").decode().split("---\n")[1])


def faults(repo: HubRepo, folder: Path) -> dict[str, str]:
    """Kind of fault → what is said of it: everything that distinguishes a repo from a good one."""
    found: dict[str, str] = {}
    index = json.loads(content(repo, "model_index.json"))
    facts = {
        "gated": repo.gated,
        "licence forbids it": card(repo)["license"] not in ("apache-2.0", "mit"),
        "own earlier merge": "shoal-merge" in card(repo)["tags"],
    }
    found |= {reason: reason for reason, holds in facts.items() if holds}
    if said := find_index_fault(index):
        return found | {"index": said}
    if said := find_files_fault(index, repo.files):
        return found | {"files": said}
    for path in repo.files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content(repo, path))
    if said := pipeline_mismatch(read_model_config(MODELS[BASE]), read_model_config(folder)):
        found["configs"] = said
    tensors = [load(content(repo, path)) for path in repo.files if path.endswith(".safetensors")]
    if not all(bool(tensor.isfinite().all()) for part in tensors for tensor in part.values()):
        found["NaN weights"] = "NaN weights"
    return found


@pytest.mark.parametrize("reason", DECOYS)
def test_each_decoy_has_its_one_fault_and_no_other(reason: str, tmp_path: Path) -> None:
    ((kind, said),) = faults(DECOYS[reason], tmp_path).items()
    for group, expected in (("index", BY_INDEX), ("files", BY_FILES), ("configs", BY_CONFIGS)):
        if reason in expected:
            assert kind == group and expected[reason] in said
            return
    assert kind == reason


def test_the_models_worth_merging_have_no_fault_and_say_whence_they_come(tmp_path: Path) -> None:
    for name, repo in GOOD.items():
        assert faults(repo, tmp_path / name) == {}
        assert card(repo).get("base_model") == (None if name == BASE else [BASE])
        assert (card(repo)["pipeline_tag"], card(repo)["library_name"]) == ("text-to-image", "diffusers")


def test_populate_publishes_the_models_first_and_every_repo_once_with_the_tag_of_the_watchlist() -> None:
    published: dict[str, dict] = {}

    def publish(repo, files, **facts):
        assert repo not in published and files
        published[repo] = facts

    populate_pictures(publish)
    assert list(published)[:3] == [*GOOD]
    assert set(published) == set(GOOD) | {repo.name for repo in DECOYS.values()}
    assert {repo for repo, facts in published.items() if facts["gated"]} == {DECOYS["gated"].name}
    least = min(published[name]["downloads"] for name in GOOD)
    assert all(facts["downloads"] < least for repo, facts in published.items() if repo not in GOOD)
    assert all(PICTURE_TAG in card(repo)["tags"] for repo in (*GOOD.values(), *DECOYS.values()))
