"""The repos of the demo with pictures: each decoy is a good repo but for one thing."""

import json
import struct
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load
from transformers import AutoConfig

from zoo.repo import HubRepo
from zoo.vision.decoys import sight_decoys
from zoo.vision.populate import populate_sight, sight_models
from zoo.vision.repo import BASE, EYE, LANGUAGE, SIGHT_TAG

DECOYS = {repo.refused_for: repo for repo in sight_decoys()}
MODELS = {repo.name: repo for repo in sight_models()}


def content(repo: HubRepo, file: str) -> bytes:
    found = repo.files[file]
    return found.read_bytes() if isinstance(found, Path) else found


def shapes(repo: HubRepo) -> dict:
    raw = content(repo, "model.safetensors")
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def card(repo: HubRepo) -> dict:
    return yaml.safe_load(content(repo, "README.md").decode().split("---\n")[1])


def faults(repo: HubRepo) -> set[str]:
    """Everything that distinguishes a repo from the good model that it looks like."""
    found, config = set(), json.loads(content(repo, "config.json"))
    good = MODELS[EYE if card(repo)["pipeline_tag"] == "image-text-to-text" else LANGUAGE]
    true = json.loads(content(good, "config.json"))
    if repo.gated:
        found.add("gated")
    if card(repo)["license"] not in ("apache-2.0", "mit"):
        found.add("licence forbids it")
    if "shoal-merge" in card(repo)["tags"]:
        found.add("own earlier merge")
    if "auto_map" in config:
        found.add("custom code")
    if "auto_map" in json.loads(
        content(repo, "processor_config.json") if good.name == EYE and "processor_config.json" in repo.files else b"{}"
    ):
        found.add("custom processor")
    if config["architectures"] == ["CLIPVisionModel"]:
        return found | {"no language model"}
    if config.get("rope_parameters") != true.get("rope_parameters"):
        found.add("other rotary base")
    mine, theirs = shapes(repo), shapes(good)
    different = {name for name in theirs if mine.get(name) != theirs[name]}
    if different:
        found.add("other tower" if all("vision_tower" in name for name in different) else "other width")
    tensors = load(content(repo, "model.safetensors"))
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        found.add("NaN weights")
    assert mine.keys() == theirs.keys()
    return found


@pytest.mark.parametrize("reason", DECOYS)
def test_each_decoy_has_its_one_fault_and_no_other(reason: str) -> None:
    assert faults(DECOYS[reason]) == {reason}


def test_the_models_worth_merging_have_no_fault_and_say_whence_they_come() -> None:
    for name, repo in MODELS.items():
        assert faults(repo) == set()
        assert card(repo).get("base_model") == (None if name == BASE else [BASE])
        assert card(repo)["pipeline_tag"] == ("image-text-to-text" if name == EYE else "text-generation")


def test_the_config_of_every_decoy_is_one_that_transformers_reads_and_fits_its_weights(tmp_path: Path) -> None:
    for repo in DECOYS.values():
        (tmp_path / "config.json").write_bytes(content(repo, "config.json"))
        config = AutoConfig.from_pretrained(tmp_path, trust_remote_code=False)
        tower = getattr(config, "vision_config", config)
        wide = [shape for name, (_, shape) in shapes(repo).items() if name.endswith("mlp.fc1.weight")]
        assert all(shape[0] == tower.intermediate_size for shape in wide)


def test_populate_publishes_the_models_first_and_every_repo_once_with_the_tag_of_the_watchlist() -> None:
    published: dict[str, dict] = {}

    def publish(repo, files, **facts):
        assert repo not in published and files
        published[repo] = facts

    populate_sight(publish)
    assert list(published)[:3] == [BASE, LANGUAGE, EYE]
    assert set(published) == set(MODELS) | {repo.name for repo in DECOYS.values()}
    assert {repo for repo, facts in published.items() if facts["gated"]} == {DECOYS["gated"].name}
    least = min(published[name]["downloads"] for name in MODELS)
    assert all(facts["downloads"] < least for repo, facts in published.items() if repo not in MODELS)
    assert all(SIGHT_TAG in card(repo)["tags"] for repo in (*MODELS.values(), *DECOYS.values()))
