"""Reading data sets on the local Hub, with the genuine client. `test_hub_tasks` has them read by lm-eval's tasks."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from conftest import TestHub
from localhub import Shelf

CARD = "---\nlicense: mit\ntags: [sums]\nconfigs: []\n---\n# Sums\n"


def add_data_set(hub: TestHub, id: str = "ada/sums") -> str:
    return Shelf(hub.store, "datasets").commit(
        id, {"README.md": CARD, "main/test.parquet": b"PAR1", "a.jsonl": '{"a": 1}\n'}
    )


def test_a_data_set_is_described_with_its_card_and_files(hub: TestHub) -> None:
    sha = add_data_set(hub)
    info = hub.api().dataset_info("ada/sums", files_metadata=True)
    assert (info.id, info.sha, info.author, info.private, info.gated) == ("ada/sums", sha, "ada", False, False)
    assert info.tags == ["sums", "license:mit", "region:us"]
    assert info.card_data["license"] == "mit"
    files = {file.rfilename: file for file in info.siblings}
    assert set(files) == {".gitattributes", "README.md", "a.jsonl", "main/test.parquet"}
    assert files["main/test.parquet"].lfs.sha256 == hashlib.sha256(b"PAR1").hexdigest()
    assert files["a.jsonl"].size == 9
    assert not hub.api().repo_exists("ada/sums")  # a model of that name is another repo


def test_a_data_set_is_read_at_a_revision_and_by_folder(hub: TestHub) -> None:
    old = add_data_set(hub)
    new = Shelf(hub.store, "datasets").commit("ada/sums", {"a.jsonl": '{"a": 2}\n'})
    api = hub.api()
    assert api.dataset_info("ada/sums").sha == new
    assert api.dataset_info("ada/sums", revision=old).sha == old
    for revision, content in ((old, '{"a": 1}\n'), (None, '{"a": 2}\n')):
        path = api.hf_hub_download("ada/sums", "a.jsonl", repo_type="dataset", revision=revision, cache_dir=hub.cache)
        assert Path(path).read_text() == content
    found = [entry.path for entry in api.list_repo_tree("ada/sums", "main", repo_type="dataset")]
    assert found == ["main/test.parquet"]
    every = {entry.path for entry in api.list_repo_tree("ada/sums", recursive=True, expand=True, repo_type="dataset")}
    assert every == {".gitattributes", "README.md", "a.jsonl", "main", "main/test.parquet"}
    named = api.get_paths_info("ada/sums", ["main", "a.jsonl", "absent"], repo_type="dataset")
    assert [entry.path for entry in named] == ["main", "a.jsonl"]
    assert [branch.name for branch in api.list_repo_refs("ada/sums", repo_type="dataset").branches] == ["main"]


def test_what_is_absent_private_or_gated_raises_the_client_s_own_exceptions(hub: TestHub) -> None:
    sha = add_data_set(hub)
    api = hub.api()
    for absent in ("ada/absent", "gsm8k"):
        with pytest.raises(RepositoryNotFoundError):
            api.dataset_info(absent)
        with pytest.raises(RepositoryNotFoundError):
            api.hf_hub_download(absent, "README.md", repo_type="dataset", cache_dir=hub.cache)
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info("ada/sums", revision="absent")
    with pytest.raises(RemoteEntryNotFoundError) as caught:
        api.hf_hub_download("ada/sums", "sums.py", repo_type="dataset", cache_dir=hub.cache)
    assert caught.value.response.headers["X-Repo-Commit"] == sha
    repo = Shelf(hub.store, "datasets").find("ada/sums")
    assert repo is not None
    repo.change_settings(lambda old: replace(old, gated="auto"))
    assert hub.api(hub.other_token).dataset_info("ada/sums").gated == "auto"
    with pytest.raises(GatedRepoError, match="Access to dataset ada/sums is restricted: ask its owner"):
        hub.api(hub.other_token).hf_hub_download("ada/sums", "README.md", repo_type="dataset", cache_dir=hub.cache)
    repo.change_settings(lambda old: replace(old, gated=False, private=True))
    with pytest.raises(RepositoryNotFoundError):
        hub.api(hub.other_token).dataset_info("ada/sums")
    assert api.dataset_info("ada/sums").private


def test_a_data_set_that_is_none_answers_with_the_hub_s_code(hub: TestHub) -> None:
    for path in ("/api/datasets/ada/absent", "/datasets/ada/absent/resolve/main/README.md", "/api/datasets/squad"):
        answer = httpx.get(hub.endpoint + path, headers={"Authorization": f"Bearer {hub.token}"})
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")
