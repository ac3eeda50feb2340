"""Writing to the local Hub with the genuine client: repos, commits, large files, references, pull requests."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from conftest import TestHub
from fixtures.noise import noise
from localhub.store.commits import hash_as_git

README = b"---\nlicense: mit\n---\n# hi\n"


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def test_one_commit_takes_text_small_and_large_files_together(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("reef/m")
    small, large = noise(1000), noise(700_000)
    made = api.create_commit(
        "reef/m",
        [add("README.md", README), add("s.safetensors", small), add("l.safetensors", large)],
        commit_message="Release",
        commit_description="with everything",
    )
    assert made.oid == api.model_info("reef/m").sha
    assert made.commit_url == f"{hub.endpoint}/reef/m/commit/{made.oid}"
    for name, content in (("s.safetensors", small), ("l.safetensors", large), ("README.md", README)):
        path = api.hf_hub_download("reef/m", name, revision=made.oid, cache_dir=hub.cache)
        assert Path(path).read_bytes() == content
    uploads = [path.split("/")[4:5] for method, path in hub.faults.seen if method == "PUT"]
    assert uploads.count(["part"]) == 7
    assert uploads.count([]) == 1
    history = api.list_repo_commits("reef/m")
    assert [(commit.title, commit.message, commit.authors) for commit in history] == [
        ("Release", "with everything", ["ada"]),
        ("initial commit", "", ["ada"]),
    ]


def test_what_is_there_already_is_not_uploaded_or_committed_again(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ada/m")
    first = api.create_commit("ada/m", [add("w.safetensors", noise(5000))], commit_message="one")
    hub.faults.clear()
    again = api.create_commit("ada/m", [add("w.safetensors", noise(5000))], commit_message="two")
    assert again.oid == first.oid
    api.create_commit("ada/m", [add("copy.safetensors", noise(5000))], commit_message="three")
    assert [path for method, path in hub.faults.seen if method == "PUT"] == []


def test_files_and_folders_are_deleted_and_copied_in_one_commit(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"old/a.txt": "1", "old/b.txt": "2", "c.txt": "3", "w.safetensors": noise(100)})
    operations = [
        CommitOperationDelete("old/"),
        CommitOperationDelete("c.txt"),
        CommitOperationCopy("w.safetensors", "v.safetensors"),
    ]
    api = hub.api()
    api.create_commit("ada/m", operations, commit_message="tidy")
    assert sorted(api.list_repo_files("ada/m")) == [".gitattributes", "v.safetensors", "w.safetensors"]
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        api.create_commit("ada/m", [CommitOperationDelete("c.txt")], commit_message="again")


def test_the_client_refuses_to_commit_a_bad_card(hub: TestHub) -> None:
    head = hub.store.commit("ada/m", {"a.txt": "1"})
    bad = CommitOperationAdd("README.md", b"---\nlicense: mine\n---\n")
    with pytest.raises(ValueError, match=r"Invalid metadata in README.md[\s\S]*must be one of"):
        hub.api().create_commit("ada/m", [bad], commit_message="x")
    assert hub.store.head("ada/m") == head
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        hub.api().create_commit("ada/m", [CommitOperationAdd("README.md", b"# x")], commit_message="x")


def test_a_commit_on_a_stale_parent_is_refused_with_412_and_changes_nothing(hub: TestHub) -> None:
    api = hub.api()
    stale = hub.store.commit("ada/m", {"a.txt": "1"})
    head = hub.store.commit("ada/m", {"a.txt": "2"})
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit("ada/m", [add("a.txt", b"3")], commit_message="late", parent_commit=stale)
    assert caught.value.response.status_code == 412
    assert api.model_info("ada/m").sha == head
    made = api.create_commit("ada/m", [add("a.txt", b"3")], commit_message="on time", parent_commit=head)
    assert api.model_info("ada/m").sha == made.oid


def test_commits_of_many_clients_at_once_all_stand_in_one_line(hub: TestHub) -> None:
    api = hub.api()
    api.create_repo("ada/m")

    def commit(number: int) -> None:
        api.create_commit("ada/m", [add(f"{number}.txt", b"x")], commit_message=f"{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(commit, range(24)))
    assert sorted(api.list_repo_files("ada/m")) == sorted([".gitattributes", *(f"{i}.txt" for i in range(24))])
    assert len(api.list_repo_commits("ada/m")) == 25


def test_of_clients_that_commit_on_one_parent_exactly_one_wins(hub: TestHub) -> None:
    api = hub.api()
    head = hub.store.commit("ada/m", {"a.txt": "0"})

    def commit(number: int) -> int:
        try:
            content = str(number).encode()
            api.create_commit("ada/m", [add("b.txt", content)], commit_message="mine", parent_commit=head)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(commit, range(6))) == [200, 412, 412, 412, 412, 412]


def test_creating_a_repo_twice_is_a_conflict_that_exist_ok_forgives(hub: TestHub) -> None:
    api = hub.api()
    url = api.create_repo("m")
    assert (url.repo_id, str(url)) == ("ada/m", f"{hub.endpoint}/ada/m")
    assert api.create_repo("ada/m", exist_ok=True).repo_id == "ada/m"
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo("ada/m")
    assert caught.value.response.status_code == 409


def test_a_deleted_repo_is_gone_and_its_name_is_free(hub: TestHub) -> None:
    api = hub.api()
    hub.store.commit("ada/m", {"a.txt": "1"})
    api.delete_repo("ada/m")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("ada/m")
    api.delete_repo("ada/m", missing_ok=True)
    api.create_repo("ada/m")
    assert api.list_repo_files("ada/m") == [".gitattributes"]


def test_a_renamed_repo_is_found_under_its_old_name_until_that_is_taken(hub: TestHub) -> None:
    api = hub.api()
    sha = hub.store.commit("ada/old", {"a b.txt": "1"})
    api.move_repo("ada/old", "reef/new")
    assert api.model_info("ada/old", expand=["sha"]).id == "reef/new"
    path = api.hf_hub_download("ada/old", "a b.txt", revision=sha, cache_dir=hub.cache)
    assert Path(path).read_text() == "1"
    api.create_repo("ada/old")
    assert api.model_info("ada/old").id == "ada/old"


def test_tags_and_branches_are_made_listed_used_and_deleted(hub: TestHub) -> None:
    api = hub.api()
    first = hub.store.commit("ada/m", {"a.txt": "1"})
    api.create_tag("ada/m", tag="cycle-1", tag_message="the first")
    api.create_branch("ada/m", branch="next")
    second = api.create_commit("ada/m", [add("a.txt", b"2")], commit_message="2", revision="next").oid
    refs = api.list_repo_refs("ada/m", include_pull_requests=True)
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": first, "next": second}
    assert [(tag.name, tag.ref, tag.target_commit) for tag in refs.tags] == [("cycle-1", "refs/tags/cycle-1", first)]
    for call in (
        lambda: api.create_tag("ada/m", tag="cycle-1"),
        lambda: api.create_branch("ada/m", branch="next"),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            call()
        assert caught.value.response.status_code == 409
    api.create_tag("ada/m", tag="cycle-1", exist_ok=True)
    with pytest.raises(RevisionNotFoundError):
        api.create_tag("ada/m", tag="cycle-2", revision="absent")
    with pytest.raises(BadRequestError, match="Invalid reference name"):
        api.create_tag("ada/m", tag="../main")
    api.delete_tag("ada/m", tag="cycle-1")
    api.delete_branch("ada/m", branch="next")
    assert api.list_repo_refs("ada/m").tags == []
    with pytest.raises(RevisionNotFoundError):
        api.create_commit("ada/m", [add("a.txt", b"3")], commit_message="3", revision="next")


def test_a_pull_request_is_proposed_by_a_stranger_read_and_merged_by_the_owner(hub: TestHub) -> None:
    base = hub.store.commit("ada/m", {"a.txt": "1", "b.txt": "1"})
    made = hub.api(hub.other_token).create_commit(
        "ada/m", [add("b.txt", b"2"), add("w.safetensors", noise(50))], commit_message="Better", create_pr=True
    )
    api = hub.api()
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert api.model_info("ada/m").sha == base
    assert api.model_info("ada/m", revision="refs/pr/1").sha == made.oid
    path = api.hf_hub_download("ada/m", "b.txt", revision="refs/pr/1", cache_dir=hub.cache)
    assert Path(path).read_text() == "2"
    hub.store.commit("ada/m", {"a.txt": "changed meanwhile"})
    with pytest.raises(HfHubHTTPError) as caught:
        hub.api(hub.other_token).merge_pull_request("ada/m", 1)
    assert caught.value.response.status_code == 403
    api.merge_pull_request("ada/m", 1, comment="Thanks")
    details = api.get_discussion_details("ada/m", 1)
    assert (details.status, details.author, details.merge_commit_oid) == ("merged", "bob", hub.store.head("ada/m"))
    assert hub.store.read("ada/m", "a.txt") == b"changed meanwhile"
    assert hub.store.read("ada/m", "b.txt") == b"2"


def test_a_pull_request_that_conflicts_is_not_merged(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    api = hub.api()
    api.create_commit("ada/m", [add("a.txt", b"2")], commit_message="mine", create_pr=True)
    head = hub.store.commit("ada/m", {"a.txt": "3"})
    with pytest.raises(HfHubHTTPError, match=r"Merge conflicts in a\.txt"):
        api.merge_pull_request("ada/m", 1)
    assert api.get_discussion_details("ada/m", 1).status == "open"
    assert hub.store.head("ada/m") == head


def sender(hub: TestHub) -> httpx.Client:
    return httpx.Client(base_url=hub.endpoint, headers={"Authorization": f"Bearer {hub.token}"})


def post_commit(client: httpx.Client, *lines: str) -> httpx.Response:
    return client.post("/api/models/ada/m/commit/main", content="\n".join(lines))


def test_paths_that_leave_the_repo_and_malformed_lines_are_refused_by_name(hub: TestHub) -> None:
    head = hub.store.commit("ada/m", {"a.txt": "1"})
    header = '{"key": "header", "value": {"summary": "x"}}'
    client = sender(hub)
    for path in ("../escape.txt", "/etc/passwd", "a/../../b", "a//b", ".git/config", "a\\b", "a\0b", ".", ""):
        answer = post_commit(client, header, json.dumps({"key": "file", "value": {"path": path, "content": "x"}}))
        assert (answer.status_code, answer.json()["error"][:12]) == (400, "Invalid file" if path else "Invalid path")
    for line, message in {
        "no json": "Invalid line",
        '{"key": "file"}': "Invalid line",
        '{"key": "dance", "value": {}}': "Unknown commit operation 'dance'",
        '{"key": "file", "value": {"path": "a", "content": "%", "encoding": "base64"}}': "not base64",
        '{"key": "lfsFile", "value": {"path": "a", "oid": "' + "0" * 64 + '"}}': "not uploaded",
        '{"key": "lfsFile", "value": {"path": "a", "oid": "../../x"}}': "Invalid SHA-256",
        '{"key": "file", "value": {"path": "a.txt/b", "content": ""}}': "a file and a folder at once",
        '{"key": "header", "value": {"summary": ""}}': "Invalid summary",
        '{"key": "header", "value": {"summary": "x", "parentCommit": "abc"}}': "Invalid parentCommit 'abc'",
    }.items():
        answer = post_commit(client, header, line)
        assert (answer.status_code, message in answer.json()["error"]) == (400, True), (line, answer.text)
    assert hub.store.head("ada/m") == head


def test_a_file_too_large_to_be_sent_inline_is_refused(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    line = json.dumps({"key": "file", "value": {"path": "big.txt", "content": "x" * 15_000_000}})
    answer = post_commit(sender(hub), line)
    assert answer.status_code == 413
    assert "use LFS" in answer.json()["error"]


def test_an_upload_must_be_what_was_announced_and_signed(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    content = noise(2000)
    oid = hashlib.sha256(content).hexdigest()
    wanted = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": 2000}]}
    answer = sender(hub).post("/ada/m.git/info/lfs/objects/batch", json=wanted)
    href = answer.json()["objects"][0]["actions"]["upload"]["href"]
    assert httpx.put(href, content=noise(2000, seed=1)).status_code == 400
    assert httpx.put(href, content=content + b"x").status_code == 400
    assert httpx.put(href.partition("?")[0], content=content).status_code == 403
    assert hub.store.blobs.size(oid) is None
    assert httpx.put(href, content=content).status_code == 200
    assert hub.store.blobs.read(oid) == content


def test_ids_of_files_are_those_that_git_gives() -> None:
    assert hash_as_git(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
