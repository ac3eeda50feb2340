"""Releases onto the Hub: one atomic commit a repo, never the same bytes twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import ShoalError
from bot.hub.client import HubNotFound
from bot.hub.rules import OWN_TAG

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import ModelInfo

    from bot.hub.client import Hub

CHUNK = 2**20
PROVENANCE = "shoal.json"
"""shoal's own record, in every release."""


OURS = ("*.safetensors", "*.safetensors.index.json", "LICENSE-*", "LICENCE-*", "NOTICE-*", "path.png")
"""What a release may leave behind when the next one of its role has other files; all else in a repo is a person's."""


@dataclass(frozen=True)
class Upload:
    """One release on its way: the folder, its files' SHA-256 as the ledger has them, and where it goes."""

    folder: Path
    files: Mapping[str, str]
    repo: str
    private: bool
    tag: str
    message: str


def publish(hub: Hub, upload: Upload) -> str:
    """Put a release on the Hub and return the commit that holds it.

    The files are hashed again first: what is uploaded is what was scored. If the repo's head holds them already
    (an upload whose answer was lost), nothing is sent. The commit names its parent, so a repo that someone else
    changed in between refuses it and nothing is overwritten.
    """
    from huggingface_hub.errors import HfHubHTTPError

    check_files(upload.folder, upload.files)
    check_free(hub, upload.repo, upload.private)
    hub.call(hub.api.create_repo, upload.repo, private=upload.private, exist_ok=True)
    head = hub.call(hub.api.model_info, upload.repo, files_metadata=True)
    commit = head.sha or ""
    if not _holds(head, upload):
        try:
            commit = hub.call(
                hub.api.create_commit,
                upload.repo,
                operations=_operations(head, upload),
                commit_message=upload.message,
                parent_commit=head.sha,
            ).oid
        except HfHubHTTPError as error:
            if error.response.status_code != 412:
                raise
            raise ShoalError(
                f"{upload.repo}: changed on the Hub while the release was uploaded; nothing was overwritten: "
                "look at its newest commit, then run `shoal publish` again"
            ) from error
    _tag(hub, upload.repo, upload.tag, commit)
    return commit


def check_free(hub: Hub, repo: str, private: bool) -> None:
    """ShoalError unless the name is free, or taken by an earlier release of shoal that may be followed by this one.

    A release is known by the loop guard's tag beside its provenance. A person's repo is never written to, and
    what should be private never goes where it is public.
    """
    try:
        info = hub.call(hub.api.model_info, repo)
    except HubNotFound:
        return
    names = {sibling.rfilename for sibling in info.siblings or ()}
    fresh = names <= {".gitattributes"}
    if not fresh and not (OWN_TAG in (info.tags or ()) and PROVENANCE in names):
        raise ShoalError(
            f"publish.name: got {repo!r}: the Hub has this repo, and it is no release of shoal: "
            "choose another name, or move that repo"
        )
    if private and not info.private:
        raise ShoalError(f"publish.private: got true: {repo} is public on the Hub; make it private there, or rename")


def _tag(hub: Hub, repo: str, tag: str, commit: str) -> None:
    """Point the cycle's tag at the commit; a card that was written anew moves it."""
    tags = hub.call(hub.api.list_repo_refs, repo).tags
    standing = next((ref.target_commit for ref in tags if ref.name == tag), None)
    if standing == commit:
        return
    if standing is not None:
        hub.call(hub.api.delete_tag, repo, tag=tag)
    hub.call(hub.api.create_tag, repo, tag=tag, revision=commit)


def collect(hub: Hub, namespace: str, title: str, repos: Mapping[str, str], private: bool) -> str:
    """Put repos (name → note) into the namespace's collection of that title, made if needed; returns its slug."""
    collection = hub.call(hub.api.create_collection, title=title, namespace=namespace, private=private, exists_ok=True)
    for repo, note in repos.items():
        hub.call(
            hub.api.add_collection_item,
            collection.slug,
            item_id=repo,
            item_type="model",
            note=note,
            exists_ok=True,
        )
    return str(collection.slug)


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Hash a release's files against the ledger; a missing or changed one is a ShoalError that names it."""
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise ShoalError(f"{path}: the release's file is gone; run the cycle again to write it anew")
        if sha256_of(path) != expected:
            raise ShoalError(
                f"{path}: changed since it was checked (its SHA-256 is not the ledger's); run the cycle again"
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_blob_id(path: Path) -> str:
    """The id git gives a file's content, which the Hub tells for files outside LFS."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _holds(head: ModelInfo, upload: Upload) -> bool:
    there = {
        sibling.rfilename: sibling.lfs.sha256 if sibling.lfs else sibling.blob_id for sibling in head.siblings or ()
    }
    return all(there.get(name) in (sha256, _git_blob_id(upload.folder / name)) for name, sha256 in upload.files.items())


def _operations(head: ModelInfo, upload: Upload) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Add the release's files; delete those that only an earlier release had."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    others = {sibling.rfilename for sibling in head.siblings or ()} - set(upload.files)
    stale = {name for name in others if any(fnmatchcase(name, pattern) for pattern in OURS)}
    return [
        *(CommitOperationAdd(name, upload.folder / name) for name in sorted(upload.files)),
        *(CommitOperationDelete(name) for name in sorted(stale)),
    ]
