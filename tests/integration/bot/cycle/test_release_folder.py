"""A release's folder: weights, provenance and the sources' licences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.hub.discovery.candidate import is_wanted
from bot.hub.licences import is_source_licence
from bot.release.publish import PROVENANCE
from bot.release.verify import hash_files
from bot.release.write import render_provenance, source_licences, write_release_folder
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from zoo.repo import BASE, LANGUAGE, MATH, MODELS

REFS = {name: ModelId(name, "0" * 40) for name in (BASE, MATH, LANGUAGE)}
WHOLE = Partition.even(2, 1, modules_apart=False, ends_apart=False)


def mean(seed: int = 0) -> WeightMerge:
    weights = ("weight", ((1.0,), (1.0,)))
    return WeightMerge("linear", (REFS[MATH], REFS[LANGUAGE]), None, WHOLE, (weights,), "float32", seed)


@pytest.fixture
def folders() -> dict[ModelId, Path]:
    return {REFS[name]: folder for name, folder in MODELS.items()}


def test_licence_and_notice_files_are_passed_on_under_their_owners_names(tmp_path: Path) -> None:
    places = {}
    for source, name in ((REFS[MATH], "LICENSE"), (REFS[LANGUAGE], "NOTICE.md")):
        places[source] = tmp_path / source.location.replace("/", "--")
        places[source].mkdir()
        (places[source] / name).write_bytes(b"\xa9 " + source.location.encode())
        (places[source] / "LICENSE.safetensors").write_bytes(b"no licence at all")
    assert source_licences(mean(), REFS[MATH], places) == {
        "LICENSE-abacus-works--minnow-math.txt": b"\xa9 abacus-works/minnow-math",
        "NOTICE-kotoba-lab--minnow-kotoba.md": b"\xa9 kotoba-lab/minnow-kotoba",
    }


def test_licences_in_any_case_and_use_policies_are_passed_on_and_recognised(tmp_path: Path) -> None:
    names = ("License.txt", "notice", "USE_POLICY.md", "COPYING", "LICENSE-APACHE.md", "README.md", "license.pdf")
    for name in names:
        (tmp_path / name).write_text(name)
    places = {REFS[MATH]: tmp_path}
    found = source_licences(WeightMerge.single(REFS[MATH], WHOLE, "float32"), REFS[MATH], places)
    repo = MATH.replace("/", "--")
    assert set(found) == {
        f"License-{repo}.txt",
        f"notice-{repo}.txt",
        f"USE_POLICY-{repo}.md",
        f"COPYING-{repo}.txt",
        f"LICENSE-APACHE-{repo}.md",
    }
    assert all(is_wanted(name) for name in names[:5]) and not any(map(is_wanted, names[5:]))
    assert all(map(is_source_licence, found)) and not any(map(is_source_licence, names))


def test_the_config_sources_licence_is_passed_on_though_no_weights_are_its_own(tmp_path: Path) -> None:
    places = {}
    for source in (REFS[MATH], REFS[LANGUAGE]):
        places[source] = tmp_path / source.location.replace("/", "--")
        places[source].mkdir()
        (places[source] / "LICENSE").write_text(source.location)
    found = source_licences(WeightMerge.single(REFS[MATH], WHOLE, "float32"), REFS[LANGUAGE], places)
    assert sorted(content.decode() for content in found.values()) == [MATH, LANGUAGE]


def test_a_repo_named_like_a_weight_file_and_two_licences_of_one_name_are_passed_on_as_text(tmp_path: Path) -> None:
    odd = ModelId("reef/model.safetensors", "0" * 40)
    for name in ("LICENSE", "LICENSE.txt"):
        (tmp_path / name).write_text(f"{name}\n")
    found = source_licences(WeightMerge.single(odd, WHOLE, "float32"), odd, {odd: tmp_path})
    assert found == {"LICENSE-reef--model.safetensors.txt": b"LICENSE\nLICENSE.txt\n"}


def test_the_provenance_rebuilds_the_recipe() -> None:
    record = json.loads(render_provenance(mean(), REFS[MATH], "demo-1", KINDS["language"]))
    assert WeightMerge.from_json(record["recipe"]) == mean()
    assert record["recipe_digest"] == mean().digest and record["packages"]["shoal"]


def test_a_folder_that_is_complete_is_kept_and_one_of_another_recipe_is_written_anew(
    tmp_path: Path, folders: dict[ModelId, Path]
) -> None:
    target = tmp_path / "balanced"
    write_release_folder(mean(), folders, REFS[MATH], target, "demo-1")
    first = hash_files(target)
    stamp = (target / "model.safetensors").stat().st_mtime_ns
    write_release_folder(mean(), folders, REFS[MATH], target, "demo-1")
    assert (target / "model.safetensors").stat().st_mtime_ns == stamp
    other = WeightMerge.single(REFS[LANGUAGE], WHOLE, "float32")
    write_release_folder(other, folders, REFS[MATH], target, "demo-1")
    assert json.loads((target / PROVENANCE).read_text())["recipe_digest"] == other.digest
    assert hash_files(target)["model.safetensors"] != first["model.safetensors"]


def test_an_empty_folder_is_not_a_release(tmp_path: Path) -> None:
    with pytest.raises(ShoalError, match="holds no files"):
        hash_files(tmp_path)
