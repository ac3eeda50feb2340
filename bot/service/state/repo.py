"""The private data set repo that keeps a state: read at a commit, and changed by commits that name their parent.

A commit that names another parent than the head is refused by the Hub, so two processes at once are noticed: whoever
comes second is told who was first.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError

from bot.cycle.past.review import current_user
from bot.errors import ShoalError
from bot.hub.answers.failures import HubNotFound
from bot.hub.client import Hub
from bot.service.state.snapshot import EDITS
from templates.markdown import render_markdown

MANIFEST = "shoal-state.json"
"""The file by which a state is recognised, and which says who wrote it."""

FORMAT = 1
SQUASH_EVERY = 100
"""Snapshots between two that forget their predecessors: each is a copy of the whole ledger."""


class StateTakenError(ShoalError):
    """Another process committed to the state first."""


@dataclass(frozen=True)
class StateManifest:
    """Who wrote a snapshot. session: one run of a process. number: of the snapshot, whoever wrote those before it.
    when: ISO 8601, UTC.

    shoal: the version that wrote it.
    """

    format: int
    session: str
    number: int
    who: str
    when: str
    shoal: str


@dataclass(frozen=True)
class StateHead:
    """The newest commit of a state. manifest: None before the first snapshot. files: their names."""

    commit: str
    manifest: StateManifest | None
    files: frozenset[str]


_MANIFEST = TypeAdapter(StateManifest)


def describe_process(environment: Mapping[str, str]) -> str:
    """Which process this is, for people: its Space or Job on the Hub, else user and machine."""
    if space := environment.get("SPACE_ID"):
        return f"the Space {space}"
    if job := environment.get("JOB_ID"):
        return f"the Job {job}"
    return f"{current_user()} on {socket.gethostname()} (process {os.getpid()})"


class StateRepo:
    """A state's repo on the Hub."""

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub = hub
        self.name = name

    def open(self) -> StateHead:
        """The state's head; the repo is made, private, if there is none.

        Raises:
            ShoalError: the repo is public, or holds something else than a state of this format.
        """
        try:
            return self._head()
        except HubNotFound:
            api = self._hub.api
            self._hub.call(api.create_repo, self.name, repo_type="dataset", private=True, exist_ok=True)
            return self._head()

    def fetch(self, head: StateHead, folder: Path) -> None:
        """Download the files of a snapshot to a folder, but for names that lead out of it."""
        for name in sorted(head.files):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                continue
            self._download(head.commit, name, folder)

    def commit(self, head: StateHead, manifest: StateManifest, files: Mapping[str, Path]) -> StateHead:
        """Commit a snapshot on top of a head; returns the new one. Edits that are no more are deleted.

        Raises:
            StateTakenError: another process has committed since.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        gone = {name for name in head.files - files.keys() if name.startswith(f"{EDITS}/")}
        operations: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationDelete(name) for name in gone]
        operations.append(CommitOperationAdd(MANIFEST, json.dumps(asdict(manifest), indent=1).encode()))
        operations += [CommitOperationAdd(name, path) for name, path in files.items()]
        if head.manifest is None:
            operations.append(CommitOperationAdd("README.md", render_markdown("state_card.md.j2").encode()))
        try:
            made = self._hub.call(
                self._hub.api.create_commit, self.name, operations=operations, repo_type="dataset",
                commit_message=f"Snapshot {manifest.number} of {manifest.who}", parent_commit=head.commit,
            )  # fmt: skip
        except HfHubHTTPError as error:
            if error.response.status_code != 412:
                raise
            now = self._head()
            if now.manifest is None or now.manifest.session != manifest.session:
                raise self._taken(now) from error
            # The answer to an earlier try was lost: to this commit, or to a squash.
            return now if now.manifest == manifest else self.commit(now, manifest, files)
        return StateHead(made.oid, manifest, (head.files - gone) | files.keys())

    def squash(self, head: StateHead) -> StateHead:
        """Forget all snapshots before the head, which only take up room; returns the head's new commit."""
        self._hub.call(self._hub.api.super_squash_history, self.name, repo_type="dataset", commit_message="Snapshot")
        new = self._head()
        if new.manifest != head.manifest:
            raise self._taken(new)
        return new

    def _taken(self, now: StateHead) -> StateTakenError:
        by = f"{now.manifest.who} at {now.manifest.when}" if now.manifest else f"commit {now.commit[:12]}"
        return StateTakenError(
            f"--state: {self.name}: {by} was first to change it, and only one process may go on from a state; stop one "
            "of them, then start the other again"
        )

    def _head(self) -> StateHead:
        info = self._hub.call(self._hub.api.dataset_info, self.name)
        if not info.private:
            raise ShoalError(f"--state: got {self.name!r}: is public on the Hub; make it private, or choose another")
        names = [sibling.rfilename for sibling in info.siblings or () if sibling.rfilename != ".gitattributes"]
        commit = str(info.sha)
        if MANIFEST in names:
            kept = [name for name in names if name not in (MANIFEST, "README.md")]
            return StateHead(commit, self._read_manifest(commit), frozenset(kept))
        if names:
            raise ShoalError(f"--state: got {self.name!r}: holds {names[0]} and no state of shoal; choose another")
        return StateHead(commit, None, frozenset())

    def _read_manifest(self, commit: str) -> StateManifest:
        with tempfile.TemporaryDirectory(prefix="shoal-state-") as folder:
            content = self._download(commit, MANIFEST, Path(folder)).read_bytes()
        try:
            manifest = _MANIFEST.validate_json(content)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ShoalError(f"{self.name}: {MANIFEST} cannot be read ({reason}); use a newer shoal") from error
        if manifest.format != FORMAT:
            raise ShoalError(
                f"{self.name}: is a state of format {manifest.format}, written by shoal {manifest.shoal}; "
                "use that version or a newer one"
            )
        return manifest

    def _download(self, commit: str, name: str, folder: Path) -> Path:
        where = self._hub.call(
            self._hub.api.hf_hub_download, self.name, name, repo_type="dataset", revision=commit, local_dir=folder,
            tries=2,
        )  # fmt: skip
        return Path(str(where))
