"""Data sets and Spaces that are made and changed on the local Hub, with the genuine client."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from conftest import TestHub
from localhub import Shelf
from localhub.shelves.space_settings import hash_secret, read_space_settings

CARD = "---\ntitle: Shoal\nsdk: docker\n---\n# Shoal\n"


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_a_commit_with_large_files_goes_to_a_repo_of_each_kind(hub: TestHub, tmp_path: Path, kind: str) -> None:
    api, large = hub.api(), tmp_path / "ledger.sqlite"
    large.write_bytes(bytes(range(256)) * 2000)  # in several parts
    made = api.create_repo("reef/state", repo_type=kind, private=True, space_sdk="docker" if kind == "space" else None)
    assert (made.repo_type, made.repo_id) == (kind, "reef/state")
    api.create_repo("reef/state", repo_type=kind, exist_ok=True, space_sdk="docker" if kind == "space" else None)
    first = api.repo_info("reef/state", repo_type=kind).sha
    files = [CommitOperationAdd("ledger.sqlite", large), CommitOperationAdd("README.md", CARD.encode())]
    commit = api.create_commit("reef/state", files, commit_message="Keep", repo_type=kind, parent_commit=first)
    assert commit.commit_url.startswith(f"{hub.endpoint}/{kind}s/reef/state/commit/")
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_commit(
            "reef/state", [CommitOperationDelete("README.md")], commit_message="Late", repo_type=kind,
            parent_commit=first,
        )  # fmt: skip
    assert refused.value.response.status_code == 412
    info = api.repo_info("reef/state", repo_type=kind)
    assert (info.sha, info.private) == (commit.oid, True)
    there = api.hf_hub_download("reef/state", "ledger.sqlite", repo_type=kind, cache_dir=hub.cache)
    assert Path(there).read_bytes() == large.read_bytes()
    titles = [one.title for one in api.list_repo_commits("reef/state", repo_type=kind)]
    assert titles == ["Keep", "initial commit"]
    for stranger in (hub.api(hub.other_token), hub.api(False)):
        with pytest.raises(RepositoryNotFoundError):
            stranger.repo_info("reef/state", repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("reef/state")
    api.delete_repo("reef/state", repo_type=kind)
    assert not api.repo_exists("reef/state", repo_type=kind)


def test_a_space_keeps_its_settings_and_shows_no_secret(hub: TestHub) -> None:
    api = hub.api()
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api(hub.other_token).create_repo("reef/bot", repo_type="space", space_sdk="docker")
    api.create_repo(
        "reef/bot", repo_type="space", space_sdk="docker", space_hardware="cpu-upgrade",
        space_secrets=[{"key": "HF_TOKEN", "value": "hf_first"}], space_variables=[{"key": "A", "value": "1"}],
    )  # fmt: skip
    api.add_space_secret("reef/bot", "HF_TOKEN", "hf_second")
    api.add_space_secret("reef/bot", "OTHER", "x")
    api.add_space_variable("reef/bot", "B", "2")
    assert {one.key: one.value for one in api.get_space_variables("reef/bot").values()} == {"A": "1", "B": "2"}
    assert set(api.get_space_secrets("reef/bot")) == {"HF_TOKEN", "OTHER"}
    api.request_space_hardware("reef/bot", "t4-small", sleep_time=600)
    runtime = api.get_space_runtime("reef/bot")
    assert (runtime.requested_hardware, runtime.sleep_time) == ("t4-small", 600)
    assert api.space_info("reef/bot").sdk == "docker"
    space = Shelf(hub.store, "spaces").find("reef/bot")
    assert space is not None and read_space_settings(space).secrets["HF_TOKEN"] == hash_secret("hf_second")
    assert "hf_second" not in (space.folder / "space.json").read_text()
    with pytest.raises(HfHubHTTPError):
        hub.api(hub.other_token).get_space_variables("reef/bot")
