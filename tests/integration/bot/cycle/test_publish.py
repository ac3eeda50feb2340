"""Publishing, with the genuine client against a local Hub."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.release import publish as publishing
from bot.release.publish import ChangedOnHub, ReleaseUpload, add_to_collection, check_free, publish_release
from bot.release.review import Publisher
from bot.release.verify import hash_files, sha256_of
from bot.watchlist.sections import PublishSection
from conftest import TestHub
from fixtures.cycles import Listener
from fixtures.past_cycles import FRONT, write_past_cycles

CARD = "---\nlicense: mit\ntags: [shoal-merge]\n---\n# A merge\n"


@pytest.fixture
def upload(tmp_path: Path) -> ReleaseUpload:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    (folder / "shoal.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x01" * 2000)
    files = {path.name: sha256_of(path) for path in folder.iterdir()}
    return ReleaseUpload(folder, files, "reef/merge", private=False, tag="tiny-1", message="Release")


def client(hub: TestHub) -> Hub:
    return Hub(hub.endpoint, hub.token, sleep=lambda _: None)


def commits(hub: TestHub, repo: str) -> list[str]:
    return [commit.commit_id for commit in hub.api().list_repo_commits(repo)]


def test_a_release_is_one_commit_with_a_tag(hub: TestHub, upload: ReleaseUpload) -> None:
    commit = publish_release(client(hub), upload)
    first = commits(hub, "reef/merge")
    assert len(first) == 2 and first[0] == commit  # the repo's own first commit, and the release
    info = hub.api().model_info("reef/merge", revision="tiny-1", files_metadata=True)
    assert info.sha == commit
    assert {sibling.rfilename for sibling in info.siblings} >= set(upload.files)


def test_the_same_release_is_not_sent_twice(hub: TestHub, upload: ReleaseUpload) -> None:
    """As after a crash between the Hub's answer and the ledger's write."""
    commit = publish_release(client(hub), upload)
    assert publish_release(client(hub), upload) == commit
    assert len(commits(hub, "reef/merge")) == 2


def test_a_new_cycle_replaces_the_files_of_the_old_one_in_one_commit(hub: TestHub, upload: ReleaseUpload) -> None:
    publish_release(client(hub), upload)
    (upload.folder / "model.safetensors").rename(upload.folder / "model-00001-of-00001.safetensors")
    files = {path.name: sha256_of(path) for path in upload.folder.iterdir()}
    publish_release(client(hub), ReleaseUpload(upload.folder, files, upload.repo, False, "tiny-2", "Release"))
    names = {sibling.rfilename for sibling in hub.api().model_info("reef/merge").siblings}
    assert names == {".gitattributes", "README.md", "shoal.json", "model-00001-of-00001.safetensors"}
    old = {sibling.rfilename for sibling in hub.api().model_info("reef/merge", revision="tiny-1").siblings}
    assert "model.safetensors" in old
    assert len(commits(hub, "reef/merge")) == 3


def test_a_file_changed_after_it_was_checked_is_refused_before_anything_is_sent(
    hub: TestHub, upload: ReleaseUpload
) -> None:
    (upload.folder / "model.safetensors").write_bytes(b"\x02" * 2000)
    with pytest.raises(ShoalError, match=r"model\.safetensors: changed since it was checked"):
        publish_release(client(hub), upload)
    assert not hub.api().repo_exists("reef/merge")


def test_a_repo_that_somebody_changes_meanwhile_is_not_overwritten(
    hub: TestHub, upload: ReleaseUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.api().create_repo("reef/merge")
    genuine = publishing.commit_operations

    def meddled(head: object, upload: ReleaseUpload) -> list:
        hub.store.commit("reef/merge", {"note.txt": b"mine"}, "Somebody else's")
        return genuine(head, upload)

    monkeypatch.setattr(publishing, "commit_operations", meddled)
    with pytest.raises(ShoalError, match="reef/merge: changed on the Hub while the release was uploaded"):
        publish_release(client(hub), upload)
    names = {sibling.rfilename for sibling in hub.api().model_info("reef/merge").siblings}
    assert "note.txt" in names and "model.safetensors" not in names


def test_what_a_person_changed_in_a_release_is_only_replaced_when_that_is_meant(
    hub: TestHub, upload: ReleaseUpload
) -> None:
    first = publish_release(client(hub), upload)
    theirs = CARD.encode() + b"In better words.\n"
    hub.store.commit("reef/merge", {"README.md": theirs, "extra.md": b"more"}, "By hand")
    (upload.folder / "README.md").write_text(CARD + "\nOf the next cycle.\n")
    files = {path.name: sha256_of(path) for path in upload.folder.iterdir()}
    second = replace(upload, files=files, tag="tiny-2", since=first)
    before = commits(hub, "reef/merge")
    told = rf"reef/merge: somebody changed README\.md on the Hub since shoal's release {first[:12]}, and this one would"
    with pytest.raises(ChangedOnHub, match=told):
        publish_release(client(hub), second)
    assert commits(hub, "reef/merge") == before and hub.store.read("reef/merge", "README.md") == theirs
    last = publish_release(client(hub), replace(second, over_changes=True))
    assert b"Of the next cycle" in hub.store.read("reef/merge", "README.md")
    assert commits(hub, "reef/merge") == [last, *before]  # theirs is still there
    # What only they have is no concern of the next release, and neither is a repo that somebody made anew and empty.
    hub.store.commit("reef/merge", {"extra.md": b"even more"}, "By hand")
    (upload.folder / "README.md").write_text(CARD)
    again = replace(second, files=files | {"README.md": sha256_of(upload.folder / "README.md")}, since=last)
    publish_release(client(hub), again)
    hub.api().delete_repo("reef/merge")
    hub.api().create_repo("reef/merge")
    publish_release(client(hub), again)
    assert hub.store.read("reef/merge", "README.md") == CARD.encode()


def test_a_cycle_leaves_to_a_person_what_a_person_changed_or_deleted(hub: TestHub, tmp_path: Path) -> None:
    home = write_past_cycles(tmp_path / "home")
    ledger, now, settings = Ledger(home.ledger), datetime.now(UTC), PublishSection(mode="auto", namespace="reef")

    def end_cycle(recipe: str, words: str) -> tuple[str, State, str]:
        cycle = ledger.begin("small", "d1", now).id
        folder = home.release(cycle, "balanced")
        folder.mkdir(parents=True)
        (folder / "README.md").write_text(CARD + words)
        (folder / "shoal.json").write_text("{}")
        ledger.record_release(ReleaseEntry(cycle, "balanced", recipe, "reef/merge", hash_files(folder)), None)
        listener = Listener()
        ending = Publisher(client(hub), home, ledger, listener, settings, cycle).release_or_hold("")
        ledger.finish(cycle, ending.state, ending.note, now)
        return cycle, ending.state, listener.said[0]

    (first, _), (second, _), _ = FRONT
    assert end_cycle(first, "one")[1] is State.PUBLISHED
    hub.store.commit("reef/merge", {"README.md": CARD.encode() + b"theirs"}, "By hand")
    _, state, said = end_cycle(second, "two")
    assert (state, said.partition(" on the Hub")[0]) == (
        State.REVIEW, "balanced waits for review: reef/merge: somebody changed README.md",
    )  # fmt: skip
    hub.api().delete_repo("reef/merge")
    cycle, state, said = end_cycle(first, "one")
    assert state is State.REVIEW and "published this recipe there, and somebody deleted the repo" in said
    publisher = Publisher(client(hub), home, ledger, Listener(), settings, cycle, over_changes=True)
    publisher.publish(ledger.releases(cycle))
    assert hub.store.read("reef/merge", "README.md") == CARD.encode() + b"one"


def test_a_release_repo_that_was_renamed_or_made_private_is_noticed(hub: TestHub, upload: ReleaseUpload) -> None:
    publish_release(client(hub), upload)
    hub.api().update_repo_settings("reef/merge", visibility="private")
    assert check_free(client(hub), "reef/merge", private=False) == "reef/merge is private on the Hub, and stays so"
    hub.api().move_repo("reef/merge", "reef/other")
    with pytest.raises(
        ShoalError, match=r"got 'reef/merge': it was renamed to 'reef/other' on the Hub: rename it back"
    ):
        publish_release(client(hub), upload)


def test_releases_are_filed_in_one_collection_however_often(hub: TestHub, upload: ReleaseUpload) -> None:
    publish_release(client(hub), upload)
    for _ in range(2):
        slug = add_to_collection(client(hub), "reef", "Tiny merges", {"reef/merge": "balanced"}, private=False)
    hub.api().delete_collection(slug)  # somebody did not want it; the watchlist does
    slug = add_to_collection(client(hub), "reef", "Tiny merges", {"reef/merge": "balanced"}, private=False)
    items = hub.api().get_collection(slug).items
    assert [(item.item_id, item.note) for item in items] == [("reef/merge", "balanced")]
    assert len(list(hub.api().list_collections(owner="reef"))) == 1


def test_a_busy_hub_is_waited_for(hub: TestHub, upload: ReleaseUpload) -> None:
    waits: list[float] = []
    hub.faults.unavailable("*/commit/*", method="POST", times=2)
    commit = publish_release(Hub(hub.endpoint, hub.token, sleep=waits.append), upload)
    assert len(waits) == 2 and commits(hub, "reef/merge")[0] == commit


def test_a_persons_repo_of_that_name_is_never_written_to(hub: TestHub, upload: ReleaseUpload) -> None:
    hub.store.commit("reef/merge", {"README.md": b"# Mine", "notes.txt": b"years of work"}, "By hand")
    before = commits(hub, "reef/merge")
    with pytest.raises(ShoalError, match="got 'reef/merge': the Hub has this repo, and it is not a release of shoal"):
        publish_release(client(hub), upload)
    assert commits(hub, "reef/merge") == before


def test_what_should_be_private_does_not_go_into_a_public_repo(hub: TestHub, upload: ReleaseUpload) -> None:
    publish_release(client(hub), upload)
    with pytest.raises(ShoalError, match="reef/merge is public on the Hub"):
        publish_release(client(hub), replace(upload, private=True))


def test_files_that_a_person_added_to_a_release_stay(hub: TestHub, upload: ReleaseUpload) -> None:
    publish_release(client(hub), upload)
    hub.store.commit("reef/merge", {"gguf-instructions.md": b"run it so"}, "A hint")
    (upload.folder / "README.md").write_text(CARD + "\nMore.\n")
    files = {path.name: sha256_of(path) for path in upload.folder.iterdir()}
    publish_release(client(hub), replace(upload, files=files, tag="tiny-2"))
    assert hub.store.read("reef/merge", "gguf-instructions.md") == b"run it so"


def test_a_card_written_anew_moves_the_cycles_tag(hub: TestHub, upload: ReleaseUpload) -> None:
    publish_release(client(hub), upload)
    (upload.folder / "README.md").write_text(CARD + "\nCorrected.\n")
    files = {path.name: sha256_of(path) for path in upload.folder.iterdir()}
    commit = publish_release(client(hub), replace(upload, files=files))
    assert hub.api().model_info("reef/merge", revision="tiny-1").sha == commit
