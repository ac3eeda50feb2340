"""A Space that runs `shoal serve`: its files, and how they and its settings are brought to the Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.deployment.docker import Image
from bot.deployment.files import DeployedFile, DeployedFiles, text_file
from bot.deployment.shipped import FOLDER_NAME, shipped_watchlists
from bot.errors import ShoalError
from bot.hub.answers.failures import HubNotFound
from bot.hub.client import Hub
from templates.plain_text import render_plain

if TYPE_CHECKING:
    from huggingface_hub.hf_api import SpaceInfo

PORT = 7860
"""The port that the Hub asks in a Space."""

OWN_SPACE_TAG = "shoal-space"
"""The tag by which a Space is recognised as one of shoal's; others are never written to."""

_REPLACED = (f"{FOLDER_NAME}/", "wheels/")
"""Folders of which nothing stays in a Space that is no longer deployed."""


@dataclass(frozen=True)
class SpaceDeployment:
    """A Space as it is to be. variables, secrets: its environment. hardware: None leaves it as it is."""

    name: str
    files: DeployedFiles
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    hardware: str | None
    private: bool


def space_files(image: Image, name: str, state: str) -> dict[str, DeployedFile]:
    """The files of a Space: those of a container, and the card by which the Hub knows how to run it."""
    start = ["shoal", "serve", "--page", f"0.0.0.0:{PORT}", *shipped_watchlists(image.paths)]
    card = render_plain("deployment/space_card.md.j2", title=name.partition("/")[2], state=state)
    files = image.files("space", start, port=PORT, exposed=True, volume=False)
    return files | {"README.md": text_file(card)}


def push_space(hub: Hub, wanted: SpaceDeployment) -> str | None:
    """Bring a Space to what is wanted; returns the new commit, or None where its files were so already.

    Settings come first, because the commit starts the Space with them.

    Raises:
        ShoalError: the Hub has a Space of this name that is not shoal's, or it was changed meanwhile.
    """
    api = hub.api
    try:
        there = hub.call(api.space_info, wanted.name, files_metadata=True)
    except HubNotFound:
        hub.call(
            api.create_repo, wanted.name, repo_type="space", space_sdk="docker", private=wanted.private, exist_ok=True,
            space_hardware=wanted.hardware, space_secrets=_pairs(wanted.secrets),
            space_variables=_pairs(wanted.variables),
        )  # fmt: skip
        there = hub.call(api.space_info, wanted.name, files_metadata=True)
    else:
        _check_own(there, wanted.name)
        _set_environment(hub, wanted)
    return _commit_files(hub, wanted, there)


def _check_own(there: SpaceInfo, name: str) -> None:
    names = {sibling.rfilename for sibling in there.siblings or ()}
    if names - {".gitattributes", "README.md"} and OWN_SPACE_TAG not in (there.tags or ()):
        raise ShoalError(f"SPACE: got {name!r}: the Hub has this Space, and it is not shoal's; choose another name")


def _set_environment(hub: Hub, wanted: SpaceDeployment) -> None:
    """Set what differs; secrets cannot be compared, for the Hub shows none."""
    kept = {one.key: one.value for one in hub.call(hub.api.get_space_variables, wanted.name).values()}
    for name, value in wanted.variables.items():
        if kept.get(name) != value:
            hub.call(hub.api.add_space_variable, wanted.name, name, value)
    for name, value in wanted.secrets.items():
        hub.call(lambda space, key, value=value: hub.api.add_space_secret(space, key, value), wanted.name, name)
    runtime = hub.call(hub.api.get_space_runtime, wanted.name)
    if wanted.hardware is not None and wanted.hardware not in (runtime.requested_hardware, runtime.hardware):
        hub.call(hub.api.request_space_hardware, wanted.name, wanted.hardware)


def _commit_files(hub: Hub, wanted: SpaceDeployment, there: SpaceInfo) -> str | None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    kept = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in there.siblings or ()}
    changed = {name: file for name, file in wanted.files.items() if kept.get(name) not in _hashes(file.content)}
    stale = [name for name in kept if name not in wanted.files and name.startswith(_REPLACED)]
    if not changed and not stale:
        return None
    operations = [
        *(CommitOperationAdd(name, file.content) for name, file in changed.items()),
        *(CommitOperationDelete(name) for name in stale),
    ]
    try:
        made = hub.call(
            hub.api.create_commit, wanted.name, operations=operations, repo_type="space",
            commit_message="Deploy shoal", parent_commit=there.sha,
        )  # fmt: skip
    except HfHubHTTPError as error:
        if error.response.status_code != 412:
            raise
        raise ShoalError(
            f"{wanted.name}: was changed on the Hub meanwhile; nothing was overwritten: look at its newest commit, "
            "then run the command again"
        ) from error
    return str(made.oid)


def _hashes(content: bytes) -> tuple[str, str]:
    """What the Hub may say of a file: its SHA-256, or the id that git gives it."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return hashlib.sha256(content).hexdigest(), blob


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]
