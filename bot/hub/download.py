"""Fetches the pool: pinned commits, only the files that are needed, every byte and tensor checked before use.

A source is in `<folder>/<owner>--<name>/<sha>/`, complete, or not there at all: it is fetched into a folder next to
that one, checked, given its manifest, and renamed. A complete source is used again without a request.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from bot.errors import ShoalError
from bot.hub.adapters import is_stored, store_adapters
from bot.hub.answers.failures import HubForbidden, HubGated, HubNotFound
from bot.hub.client import Hub
from bot.hub.discovery.candidate import ADAPTER_WEIGHTS, INDEX, WEIGHTS, RemoteFile, Verdict
from bot.hub.inspection.member import Member, RemoteWeights, distinct_remotes
from bot.hub.pool.experts import refuse_other_experts
from bot.hub.pool.pool import AnyFamily, remove_members
from bot.hub.resolver import source_folder
from bot.version import shoal_version
from merging.errors import MergingError
from merging.identity import ModelId
from merging.writing.atomic import atomic_file, move_folder, sync

if TYPE_CHECKING:
    from merging.sources.family import TensorHeader
    from merging.sources.weights import Weights

MANIFEST = "shoal-source.json"
"""Written last, so that its existence proves the folder complete: file → size in bytes and hash."""

IN_FILE = "in its file "
"""Stands in the verdict on a damaged source of which one file is meant, before the file: another may be sound."""

SPARE_BYTES = 2**28
"""Room to leave on the disk for everything else."""

OnBytes = Callable[[str, int], None]
"""Called with a repo and the bytes that arrived; negative bytes where a file is started again."""


class SourceGone(ShoalError):  # noqa: N818 - named after the finding
    """A member was deleted, moved or closed since it was found: the pool has to be found anew."""


class Damaged(Exception):  # noqa: N818 - a finding, not a fault
    """A fetched file differs from what the Hub says; the message is the reason for a verdict, after `finding`."""

    finding = "damaged"


class Unconverted(Damaged):
    """The process that reads a source's pickles failed, of which another try may know nothing."""

    finding = "not converted"


@dataclass(frozen=True)
class Fetched(Generic[AnyFamily]):
    """The pool or family without the sources that its files refuse, and the folders of its models.

    folders: each repo's folder by its commit, and each member's folder of config and tokenizer by its `ref`; for a
    whole model they are the same.
    """

    pool: AnyFamily
    folders: Mapping[ModelId, Path]
    refused: tuple[Verdict, ...]


def fetch_pool(
    hub: Hub,
    pool: AnyFamily,
    folder: Path,
    on_bytes: OnBytes = lambda _, __: None,
    say: Callable[[str], None] = lambda _: None,
) -> Fetched[AnyFamily]:
    """Fetch and check all members of a pool or family; a damaged source leaves it, and one with other experts.

    say: called with a line on each conversion of pickled weights.

    Raises:
        NoPool: the base is damaged, or fewer than two sources are left.
        SourceGone: a member was deleted, moved or closed since it was found; nothing more was fetched.
        ShoalError: the Hub cannot be asked, the storage behind it fails, or the disk is full.
    """
    missing = [remote for remote in pool.remotes if not is_complete(source_folder(folder, remote.ref))]
    for remote in missing:
        _check_still_there(hub, remote)
    conversion = max((remote.conversion_bytes for remote in missing), default=0)
    stored = sum(member.difference_bytes for member in pool.read_models if not is_stored(member, folder))
    _check_room(folder, sum(remote.candidate.download_bytes for remote in missing) + max(conversion, stored))
    damaged: dict[ModelId, Damaged] = {}
    for remote in missing:
        try:
            fetch_repo(hub, remote, folder, on_bytes, say)
        except Damaged as error:
            damaged[remote.ref] = error
    bad = [verdict for member in pool.read_models if (verdict := _refuse_damaged(member, damaged))]
    left = remove_members(pool, bad) if bad else pool
    for check in (store_adapters, refuse_other_experts):
        unfit = check(left, member_folders(left.read_models, folder))
        left = remove_members(left, unfit) if unfit else left
        bad += unfit
    return Fetched(left, member_folders(left.read_models, folder), tuple(bad))


def member_folders(members: Sequence[Member], sources: Path) -> dict[ModelId, Path]:
    """The folders of members that are fetched, as `Fetched` has them."""
    repos = {remote.ref: source_folder(sources, remote.ref) for remote in distinct_remotes(members)}
    return repos | {member.ref: repos[member.ref.plain] for member in members}


def _refuse_damaged(member: Member, damaged: Mapping[ModelId, Damaged]) -> Verdict | None:
    """The verdict on a member of which a repo is damaged; None if none is."""
    for remote in member.remotes:
        if (what := damaged.get(remote.ref)) is not None:
            whose = "" if remote.repo == member.repo else f"its base {remote.repo} at {remote.sha[:12]}: "
            file = f"{IN_FILE}{remote.candidate.meant_file}: " if remote.candidate.meant_file else ""
            return member.refuse(f"{what.finding}: {whose}{file}{what}")
    return None


def is_complete(target: Path) -> bool:
    """Whether a source was fetched and checked, and its files still have their sizes."""
    try:
        files = json.loads((target / MANIFEST).read_bytes())["files"]
        return all((target / name).stat().st_size == entry["size"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_still_there(hub: Hub, remote: RemoteWeights) -> None:
    """A source deleted, moved or closed since it was found stops the cycle before anything is fetched."""
    try:
        info = hub.call(hub.api.model_info, remote.repo, revision=remote.sha)
    except (HubNotFound, HubForbidden) as error:
        raise _gone_error(remote, error) from error
    if info.id != remote.repo:
        raise SourceGone(
            f"{remote.repo}: moved to {info.id} since it was found; run the command again to find it there"
        )
    if info.gated and not remote.candidate.gated:
        raise SourceGone(f"{remote.repo}: gated since it was found; run the command again to go on without it")


def _gone_error(remote: RemoteWeights, error: ShoalError) -> SourceGone:
    what = str(error).removeprefix(f"{remote.repo}: ").partition(";")[0]
    return SourceGone(
        f"{remote.repo}@{remote.sha[:12]}: gone since it was found ({what}); run the command again to go on without it"
    )


def _check_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed and needed + SPARE_BYTES > free:
        raise ShoalError(
            f"{folder}: {free:,} bytes free where the sources need {needed + SPARE_BYTES:,}; "
            "free the disk, choose another --home, or lower max_sources or audition.sources"
        )


def fetch_repo(
    hub: Hub,
    remote: RemoteWeights,
    folder: Path,
    on_bytes: OnBytes = lambda _, __: None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Fetch one repo, all or nothing, and return its folder; pickled weights are converted.

    say: called with a line on each conversion.

    After any other error than those below, the files that are complete stay for the next run, in a hidden folder.

    Raises:
        Damaged: a file is not what the Hub says it is, or pickles are not plain tensors.
        Unconverted: the process that reads pickles failed.
        SourceGone: it was deleted, moved or closed since it was found.
        ShoalError: the disk is full.
    """
    target = source_folder(folder, remote.ref)
    if is_complete(target):
        return target
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for file in remote.candidate.wanted_files:
            _fetch_file(hub, remote, file, partial, on_bytes)
        if remote.candidate.is_pickled:
            say(_convert(remote, partial))
        _check_tensors(remote, partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        _write_manifest(remote, partial)
        move_folder(partial, target)
        return target
    except Unconverted:
        raise  # what was fetched is whole
    except Damaged:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except (HubNotFound, HubGated) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _gone_error(remote, error) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.rmtree(partial, ignore_errors=True)
        raise ShoalError(f"{partial}: the disk is full; free some space and run the command again") from error


def _fetch_file(hub: Hub, remote: RemoteWeights, file: RemoteFile, folder: Path, on_bytes: OnBytes) -> None:
    """Fetch one file and check the size and hash that the Hub gave when the source was found."""
    try:
        path = hub.download(remote.repo, remote.sha, file.path, folder, lambda count: on_bytes(remote.repo, count))
    except OSError as error:
        # This is how the client reports a wrong size; its other errors carry an errno or come from the Hub.
        if error.errno is None and "onsistency" in str(error):
            raise Damaged(f"{file.path} is shorter or longer than the Hub says") from error
        raise
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise Damaged(f"{file.path} has {size:,} bytes, not {file.size:,}")
    found = file_content_id(path, git=file.sha256 is None)
    if file.content_id is not None and found != file.content_id:
        raise Damaged(f"{file.path} has the hash {found[:12]}…, not {file.content_id[:12]}…")


def file_content_id(path: Path, *, git: bool) -> str:
    """The Hub's name for a file's content: SHA-256, or git's SHA-1 of a blob for files outside LFS."""
    with path.open("rb") as stream:
        if not git:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        content = stream.read()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _check_tensors(remote: RemoteWeights, folder: Path) -> None:
    """The files' headers must be those by which the source was accepted, and every weight a number."""
    from merging.pipelines.weights import open_pipeline
    from merging.sources.checkpoint import read_headers

    try:
        if remote.candidate.is_adapter:
            if read_headers(folder / (remote.candidate.lora_file or ADAPTER_WEIGHTS)) != remote.headers:
                raise Damaged("its tensors differ from the headers that the Hub gave")
            return
        stored: Mapping[str, TensorHeader]
        if remote.candidate.is_pipeline:
            weights: Weights = (pipeline := open_pipeline(folder))
            stored = pipeline.stored_headers
        else:
            weights = _open_stored(remote, folder)
            stored = weights.headers
        if dict(stored) != dict(remote.headers):
            raise Damaged("its tensors differ from the headers that the Hub gave")
        weights.verify()
    except MergingError as error:
        raise Damaged(str(error).replace(f"{folder}{os.sep}", "")) from error


def _open_stored(remote: RemoteWeights, folder: Path) -> Weights:
    """The weights of what is no pipeline, by the names in its files."""
    from merging.pipelines.partial.lone_denoiser import open_denoiser
    from merging.sources.checkpoint import Checkpoint

    if (file := remote.candidate.checkpoint_file) is not None:
        return Checkpoint.open((folder / file).parent, (folder / file).name)
    return open_denoiser(folder) if remote.candidate.denoiser_files else Checkpoint.open(folder)


def _convert(remote: RemoteWeights, folder: Path) -> str:
    """Convert the pickles in a folder; returns a line that says in what kind of process."""
    from merging.pickles.conversion import ConverterFailed, convert_pickles

    try:
        can = convert_pickles(folder)
    except ConverterFailed as error:
        raise Unconverted(str(error)) from error
    except MergingError as error:
        raise Damaged(str(error).replace(f"{folder}{os.sep}", "")) from error
    done = f"{remote.repo}: its pickled weights were converted to safetensors, by a process"
    if not can:
        return f"{done} that could reach no network, no files but its own, and start no other process"
    return f"{done} that this machine could not keep from all it should not do: it could {', '.join(can)}"


def _write_manifest(remote: RemoteWeights, folder: Path) -> None:
    """Record the files of a folder; of pickles that were converted, their hashes, and what converted them."""
    pickles = remote.candidate.pickle_files
    hashes = {file.path: file.content_id for file in remote.candidate.wanted_files if file not in pickles}
    record: dict[str, object] = {"repo": remote.repo, "sha": remote.sha}
    if pickles:
        written = {INDEX, ADAPTER_WEIGHTS}
        made = [path for path in folder.iterdir() if path.name in written or fnmatchcase(path.name, WEIGHTS)]
        hashes |= {path.name: file_content_id(path, git=False) for path in made}
        origins = {file.path: {"size": file.size, "hash": file.content_id} for file in pickles}
        record["converted_from"] = {"files": origins, "by": f"shoal {shoal_version()}"}
    files = {name: {"size": (folder / name).stat().st_size, "hash": found} for name, found in hashes.items()}
    text = json.dumps({**record, "files": files}, indent=1, sort_keys=True)
    for path in (folder / name for name in files):
        sync(path)
    with atomic_file(folder / MANIFEST) as file:
        file.write(text.encode())
