"""The folder under the local Hub: crashes, several processes, names."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Waiting
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from fixtures.folders import ROOT
from localhub import Store
from localhub.errors import HubError
from localhub.store.commits import GITATTRIBUTES

pytestmark = pytest.mark.slow

CRASHING_COMMIT = """
import os, sys
from pathlib import Path
from localhub import Store

genuine = Path.replace

def dying(self, target):
    if Path(target).name.startswith(sys.argv[2]) or Path(target).parent.name.startswith(sys.argv[2]):
        os._exit(9)
    return genuine(self, target)

Path.replace = dying
Store(sys.argv[1]).commit("ada/m", {"a.txt": "new", "b.safetensors": b"weights"}, "never finished")
"""

COMMITTING = """
import sys
from localhub import Store

for number in range(10):
    Store(sys.argv[1]).commit("ada/m", {f"{sys.argv[2]}-{number}.txt": "x"}, "one of many")
"""


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT)


@pytest.mark.parametrize("moment", ["trees", "commits", "refs.json"])
def test_a_crash_while_committing_leaves_the_previous_head(tmp_path: Path, moment: str) -> None:
    head = Store(tmp_path).commit("ada/m", {"a.txt": "old"})
    assert start(CRASHING_COMMIT, str(tmp_path), moment).wait(60) == 9
    store = Store(tmp_path)
    assert (store.head("ada/m"), store.read("ada/m", "a.txt")) == (head, b"old")
    following = store.commit("ada/m", {"a.txt": "newer"}, parent=head)
    assert (store.head("ada/m"), store.read("ada/m", "a.txt")) == (following, b"newer")


def test_a_crash_while_creating_leaves_no_repo_and_its_name_free(tmp_path: Path) -> None:
    assert start(CRASHING_COMMIT, str(tmp_path), "refs.json").wait(60) == 9
    store = Store(tmp_path)
    assert list(store.repos()) == []
    store.create_repo("ada/m")
    assert [repo.id for repo in store.repos()] == ["ada/m"]


def test_commits_of_two_processes_all_stand(tmp_path: Path) -> None:
    Store(tmp_path).create_repo("ada/m")
    writers = [start(COMMITTING, str(tmp_path), name) for name in ("left", "right")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    repo = Store(tmp_path).repo("ada/m")
    assert len(repo.tree(repo.resolve("main"))) == 21
    assert len(list(repo.history(repo.resolve("main")))) == 21


@pytest.mark.parametrize(
    "id", ["m", "a/b/c", "../x/y", "a/..", "a/.hidden", "a/b--c", "api/models", "a/b.git", "a/ b", "a/", "é/b", "a/b\n"]
)
def test_a_repo_id_that_is_no_owner_and_name_is_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(HubError, match="Invalid repo id"):
        Store(tmp_path / "hub").create_repo(id)
    assert not (tmp_path / "hub" / "repos").exists()


def test_a_commit_from_files_copies_them_and_equal_content_stands_once(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 1000)
    store = Store(tmp_path / "hub")
    store.commit("ada/m", {"one.safetensors": tmp_path / "w.bin", "two.safetensors": b"\0" * 1000})
    (tmp_path / "w.bin").unlink()
    assert store.read("ada/m", "one.safetensors") == b"\0" * 1000
    kept = [path for path in (tmp_path / "hub" / "blobs").rglob("*") if path.is_file()]
    assert sorted(path.stat().st_size for path in kept) == [1000, len(GITATTRIBUTES)]


def test_a_move_waits_for_a_repo_that_is_being_made_under_its_new_name(tmp_path: Path) -> None:
    calm = Store(tmp_path)
    calm.commit("ada/old", {"a.txt": "1"})
    with ThreadPoolExecutor(1) as pool:
        moves = []

        def clock() -> datetime:  # asked in the middle of making a repo
            moves.append(pool.submit(calm.move_repo, "ada/old", "ada/new"))
            with pytest.raises(Waiting):
                moves[0].result(timeout=0.5)
            return datetime.now(UTC)

        Store(tmp_path, now=clock).create_repo("ada/new")
        with pytest.raises(HubError, match="There is a model repo ada/new already"):
            moves[0].result(timeout=30)
    assert calm.read("ada/old", "a.txt") == b"1"


def test_of_moves_that_cross_each_other_each_repo_ends_in_one_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit("ada/m", {"a.txt": "1"})
    store.commit("ada/n", {"a.txt": "2"})

    def move(names: tuple[str, str]) -> int:
        try:
            store.move_repo(*names)
        except HubError as error:
            return error.status
        return 200

    pairs = [("ada/m", "ada/x"), ("ada/x", "ada/m"), ("ada/n", "ada/x"), ("ada/m", "ada/n"), ("ada/m", "ada/m")] * 4
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(move, pairs)) <= {200, 404, 409}
    assert sorted(store.read(repo.id, "a.txt") for repo in store.repos()) == [b"1", b"2"]


def test_a_repo_can_be_moved_to_where_a_crash_has_left_something(tmp_path: Path) -> None:
    assert start(CRASHING_COMMIT, str(tmp_path), "refs.json").wait(60) == 9
    store = Store(tmp_path)
    store.commit("ada/old", {"a.txt": "1"})
    store.move_repo("ada/old", "ada/m")
    assert store.read("ada/m", "a.txt") == b"1"


def test_a_commit_and_the_repo_it_makes_can_be_dated(tmp_path: Path) -> None:
    store = Store(tmp_path)
    moment = datetime(2026, 6, 1, 10, tzinfo=timezone(timedelta(hours=2)))
    made = store.commit("ada/m", {"a.txt": "1"}, moment=moment)
    repo = store.repo("ada/m")
    dates = [repo.settings().created_at, *(commit.date for _, commit in repo.history(made))]
    assert dates == ["2026-06-01T08:00:00.000Z"] * 3
    before = store.now()
    assert repo.commit(store.commit("ada/m", {"a.txt": "2"})).date >= before
