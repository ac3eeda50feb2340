"""Uploads releases to the Hub: one atomic commit per repo, and never the same bytes twice."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import ShoalError
from bot.hub.answers.failures import HubNotFound
from bot.hub.discovery.rules import OWN_TAG
from bot.hub.licences import is_source_licence
from bot.release.verify import check_files

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import ModelInfo

    from bot.hub.client import Hub

CHUNK = 2**20
PROVENANCE = "shoal.json"
"""The file of shoal's own record, in every release."""

OURS = ("*.safetensors", "*.safetensors.index.json", "path.png", "shoal/*")
"""Files that, like the sources' licences, are deleted when a later release of the same role no longer has them; all
others may be a person's."""


class ChangedOnHub(ShoalError):  # noqa: N818 - named after the finding
    """A person has changed what a release would replace; nothing was sent."""


@dataclass(frozen=True)
class ReleaseUpload:
    """One release to upload: its folder, its files' SHA-256 as the ledger has them, and its repo.

    since: the commit of the release that it replaces; None if there is none. over_changes: whether it may replace what
    a person has changed since.
    """

    folder: Path
    files: Mapping[str, str]
    repo: str
    private: bool
    tag: str
    message: str
    since: str | None = None
    over_changes: bool = False


def publish_release(hub: Hub, upload: ReleaseUpload) -> str:
    """Upload a release and return the commit that holds it.

    The files are hashed again first, so that the uploaded bytes are the scored ones. If the repo's head holds them
    already (the response to an earlier upload was lost), nothing is sent. The commit names its parent, so if someone
    else changes the repo in between, the Hub refuses the commit and nothing is overwritten.

    Raises:
        ChangedOnHub: a person has changed files there that the release would replace.
    """
    from huggingface_hub.errors import HfHubHTTPError

    check_files(upload.folder, upload.files)
    check_free(hub, upload.repo, upload.private)
    hub.call(hub.api.create_repo, upload.repo, private=upload.private, exist_ok=True)
    head = hub.call(hub.api.model_info, upload.repo, files_metadata=True)
    commit = head.sha or ""
    if not has_all_files(head, upload):
        operations = commit_operations(head, upload)
        if not upload.over_changes:
            _check_unchanged(hub, upload, head, {operation.path_in_repo for operation in operations})
        try:
            commit = hub.call(
                hub.api.create_commit,
                upload.repo,
                operations=operations,
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
    move_tag(hub, upload.repo, upload.tag, commit)
    return commit


def _check_unchanged(hub: Hub, upload: ReleaseUpload, head: ModelInfo, replaced: Collection[str]) -> None:
    """ChangedOnHub if files that are to be replaced are no longer those of the release before."""
    if upload.since is None or head.sha == upload.since or is_fresh(head):
        return
    try:
        before = content_ids(hub.call(hub.api.model_info, upload.repo, revision=upload.since, files_metadata=True))
    except HubNotFound:  # the repo was made anew, or its history was squashed
        before = {}
    now = content_ids(head)
    if changed := sorted(name for name in replaced if before.get(name) != now.get(name) and (before or name in now)):
        raise ChangedOnHub(
            f"{upload.repo}: somebody changed {', '.join(changed[:5])} on the Hub since shoal's release "
            f"{upload.since[:12]}, and this one would replace that; nothing was sent: look at the repo's commits, "
            "then `shoal publish --over-changes` replaces it (it stays in the repo's history)"
        )


def content_ids(info: ModelInfo) -> dict[str, str | None]:
    """File → what identifies its content on the Hub."""
    return {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in info.siblings or ()}


def check_free(hub: Hub, repo: str, private: bool) -> str | None:
    """Raise a ShoalError unless the repo is free, or holds an earlier release of shoal that this one may replace.

    A release is recognised by shoal's tag and its provenance file. A person's repo is never written to, and a
    private release never goes into a public repo. Returns a warning, if there is something to know.
    """
    try:
        info = hub.call(hub.api.model_info, repo)
    except HubNotFound:
        return None
    if info.id != repo:
        raise ShoalError(
            f"publish.name: got {repo!r}: it was renamed to {info.id!r} on the Hub: "
            "rename it back, or choose another name"
        )
    names = {sibling.rfilename for sibling in info.siblings or ()}
    # A card alone is there while the first release waits in a pull request.
    ours = OWN_TAG in (info.tags or ()) and (PROVENANCE in names or names <= {".gitattributes", "README.md"})
    if not is_fresh(info) and not ours:
        raise ShoalError(
            f"publish.name: got {repo!r}: the Hub has this repo, and it is not a release of shoal: "
            "choose another name, or move that repo"
        )
    if private and not info.private:
        raise ShoalError(f"publish.private: got true: {repo} is public on the Hub; make it private there, or rename")
    return f"{repo} is private on the Hub, and stays so" if info.private and not private else None


def is_gone(hub: Hub, repo: str) -> bool:
    """Whether the Hub has no such repo, as far as the token may see."""
    try:
        hub.call(hub.api.model_info, repo)
    except HubNotFound:
        return True
    return False


def is_fresh(info: ModelInfo) -> bool:
    """Whether a repo holds nothing but what the Hub put there."""
    return {sibling.rfilename for sibling in info.siblings or ()} <= {".gitattributes"}


def move_tag(hub: Hub, repo: str, tag: str, commit: str) -> None:
    """Point the cycle's tag at the commit; it moves when the card was written anew."""
    tags = hub.call(hub.api.list_repo_refs, repo).tags
    current = next((ref.target_commit for ref in tags if ref.name == tag), None)
    if current == commit:
        return
    if current is not None:
        hub.call(hub.api.delete_tag, repo, tag=tag)
    hub.call(hub.api.create_tag, repo, tag=tag, revision=commit)


def add_to_collection(hub: Hub, namespace: str, title: str, repos: Mapping[str, str], private: bool) -> str:
    """Add repos (name → note) to the namespace's collection of that title, which is created if needed.

    Returns the collection's slug.
    """
    # Looked for first, because the Hub may allow several collections of one title. A list is tried again by the client.
    listed = hub.call(lambda: list(hub.api.list_collections(owner=namespace)), tries=1)
    slug = next((one.slug for one in listed if one.title.strip() == title.strip()), None)
    if slug is None:
        made = hub.call(hub.api.create_collection, title=title, namespace=namespace, private=private, exists_ok=True)
        slug = made.slug
    for repo, note in repos.items():
        hub.call(
            hub.api.add_collection_item,
            slug,
            item_id=repo,
            item_type="model",
            note=note,
            exists_ok=True,
        )
    return str(slug)


def _git_blob_id(path: Path) -> str:
    """The id git gives a file's content, which the Hub reports for files outside LFS."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def has_all_files(head: ModelInfo, upload: ReleaseUpload) -> bool:
    """Whether the repo's head has all of the release's files, by their hashes."""
    there = content_ids(head)
    return all(there.get(name) in (sha256, _git_blob_id(upload.folder / name)) for name, sha256 in upload.files.items())


def commit_operations(head: ModelInfo, upload: ReleaseUpload) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Add the release's files; delete those that only an earlier release had."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    others = {sibling.rfilename for sibling in head.siblings or ()} - set(upload.files)
    return [
        *(CommitOperationAdd(name, upload.folder / name) for name in sorted(upload.files)),
        *(CommitOperationDelete(name) for name in sorted(filter(goes_with_its_release, others))),
    ]


def goes_with_its_release(name: str) -> bool:
    """Whether a file is deleted when a later release of the same role does not have it."""
    return is_source_licence(name) or any(fnmatchcase(name, one) for one in OURS)


def release_title(cycle: str, role: str) -> str:
    """The title of the commit with a release, and of the pull request that offers it."""
    return f"Release {role} of cycle {cycle}"
