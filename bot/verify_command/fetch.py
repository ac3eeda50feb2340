"""Fetches a release, and the sources that its recipe names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.download import Damaged, SourceGone, fetch_repo
from bot.hub.inspection.member import RemoteWeights, Unfit
from bot.hub.resolver import Resolver, is_commit, source_folder
from bot.lock import hold_home
from bot.progress import Narrator
from bot.release.evidence import EVIDENCE_FOLDER
from bot.release.publish import PROVENANCE
from merging.identity import ModelId
from merging.kinds import COMPANION_FILES

MOST_FILES = 500
"""Files of a release that are fetched; a repo of a stranger may have any number."""

_COMPONENTS = frozenset(path.rpartition("/")[0] for path in COMPANION_FILES) - {""}
"""The folders that components of a model may have."""

_PLAIN = re.compile(r"(?!\.)[A-Za-z0-9._ -]{1,120}")


def fetch_release(hub: Hub, repo: str, revision: str | None, folder: Path, narrator: Narrator) -> str:
    """Fetch the files of a release into a folder; returns its commit.

    Only plain names at the top, in folders of components, and in the evidence's are fetched. Raises ShoalError as
    `Hub.call` does, and for a repo that is no release, before anything of it is fetched.
    """
    info = hub.call(hub.api.model_info, repo, revision=revision, files_metadata=True)
    sha = str(info.sha)
    wanted = {one.rfilename: one.size or 0 for one in info.siblings or () if is_release_file(one.rfilename)}
    if PROVENANCE not in wanted:
        raise no_release(repo)
    if len(wanted) > MOST_FILES:
        raise ShoalError(f"{repo}: has {len(wanted):,} files; a release has at most {MOST_FILES}")
    with narrator.bar("fetching the release", sum(wanted.values()), in_bytes=True) as advance:

        def on_bytes(count: int) -> None:
            advance(count, repo)

        for name in wanted:
            hub.download(repo, sha, name, folder, on_bytes)
    return sha


def fetch_sources(
    hub: Hub, home: Home, models: set[ModelId], narrator: Narrator, *, convert_pickles: bool = False
) -> tuple[dict[ModelId, Path], str | None]:
    """Fetch the pinned sources of a recipe into the home; those with pickled weights only if these may be converted.

    Returns their folders, as `fetch_pool` gives them, with None; or nothing with the reason why one cannot be had.

    Raises:
        ShoalError: the Hub cannot be asked, or the disk is full.
    """
    resolver = Resolver(hub, Path.cwd(), convert_pickles=convert_pickles)
    remotes: dict[ModelId, RemoteWeights] = {}  # by the names in the recipe: a repo may have another one by now
    for model in sorted(models, key=str):
        if not all(is_commit(part.revision) for part in model.parts):
            return {}, f"{model}: is not pinned to a commit of the Hub"
        try:
            remotes |= dict(zip((model.plain, *model.parts[1:]), resolver.find_weights(model), strict=True))
        except Unfit as error:
            return {}, f"{model}: {error}"
    size = sum(remote.candidate.download_bytes for remote in {one.ref: one for one in remotes.values()}.values())
    with hold_home(home), narrator.bar("fetching the sources", size, in_bytes=True) as advance:
        report: Callable[[str, int], None] = lambda repo, count: advance(count, repo)  # noqa: E731
        for remote in remotes.values():
            try:
                fetch_repo(hub, remote, home.sources, report, narrator.say)
            except (Damaged, SourceGone) as error:
                return {}, f"{remote.repo}@{remote.sha[:12]}: {str(error).partition(';')[0]}"
    repos = {model: source_folder(home.sources, remote.ref) for model, remote in remotes.items()}
    return repos | {model: repos[model.plain] for model in models}, None


def no_release(name: str) -> ShoalError:
    """The error for a folder or repo that shoal did not make."""
    return ShoalError(f"{name}: is no release of shoal, for it has no {PROVENANCE}; name another repo or folder")


def is_release_file(name: str) -> bool:
    """Whether a repo's file may be one of a release: at the top, in a component's folder or in the evidence's.

    Of a component's folder anything is fetched, so that what the recipe does not make is seen.
    """
    folder, *inside = name.split("/")
    known = not inside or folder == EVIDENCE_FOLDER or (folder in _COMPONENTS and len(inside) == 1)
    return known and all(_PLAIN.fullmatch(part) for part in (folder, *inside))
