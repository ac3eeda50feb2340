"""Builds a merge of a past cycle again from its recipe, which the ledger has; its sources are fetched where needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.download import Damaged, OnBytes, SourceGone, fetch_repo, member_folders
from bot.hub.inspection.member import RemoteWeights, distinct_remotes
from bot.hub.pool.pool import Pool
from bot.hub.resolver import open_sources
from bot.ledger.decisions import kept_documents
from bot.ledger.ledger import Ledger, ReleaseEntry
from bot.progress import Narrator
from bot.release.folder import FileState, inspect_folder, is_editable
from merging.identity import ModelId
from merging.kinds.picture_size import with_picture_size
from merging.recipes.recipe import Recipe, read_recipe
from merging.writing.atomic import atomic_file


def kept_pool(ledger: Ledger, cycle: str) -> Pool:
    """The pool of a past cycle; ShoalError if it was kept by an older shoal, or there never was one."""
    pool = ledger.kept(cycle, "pool", Pool)
    if pool is None:
        raise ShoalError(f"cycle {cycle}: the ledger has no pool for it, so its merges cannot be built again")
    return pool


def stored_recipe(ledger: Ledger, digest: str) -> Recipe:
    """A recipe by its whole digest."""
    return read_recipe(json.loads(ledger.recipe(digest)))


def fetch_origins(
    hub: Hub, pool: Pool, recipe: Recipe, home: Home, narrator: Narrator
) -> tuple[dict[ModelId, Path], Path]:
    """The folders of all that a recipe reads, and that of its config and tokenizer; fetched from the Hub if needed.

    Raises:
        ShoalError: a source is neither in the home nor on the Hub any more, or the Hub cannot be asked.
    """
    config_source = pool.leader.ref
    wanted = {*recipe.origins, config_source}
    members = [member for member in pool.read_models if member.ref in wanted]
    remotes = distinct_remotes(members)
    with narrator.bar("fetching", sum(remote.candidate.download_bytes for remote in remotes), in_bytes=True) as advance:
        for remote in remotes:
            _fetch(hub, remote, home, lambda repo, count: advance(count, repo), narrator.say)
    folders = member_folders(members, home.sources)
    return folders, folders[config_source]


def _fetch(hub: Hub, remote: RemoteWeights, home: Home, on_bytes: OnBytes, say: Callable[[str], None]) -> None:
    try:
        fetch_repo(hub, remote, home.sources, on_bytes, say)
    except (SourceGone, Damaged) as error:
        reason = "damaged on the Hub" if isinstance(error, Damaged) else "no longer on the Hub"
        raise ShoalError(
            f"{remote.repo}@{remote.sha[:12]}: {reason}, and not in {home.sources}: its merges cannot be built again"
        ) from error


def restore_release(ledger: Ledger, home: Home, hub: Hub, release: ReleaseEntry, narrator: Narrator) -> None:
    """Write what is gone of a release's folder again: documents from the ledger's copies, weights from the recipe.

    A card that was edited stays as it is.

    Raises:
        ShoalError: a source is no longer on the Hub, or what is written again has other bytes than what was scored.
    """
    folder, documents = home.release(release.cycle, release.role), kept_documents(ledger, release.cycle, release.role)
    gone = _gone(folder, release)
    if not gone:
        return
    narrator.say(f"{release.cycle}: writing the missing files of {folder} again")
    if not set(gone) <= documents.keys():
        present = {name: (folder / name).read_bytes() for name in release.files if _is_edited_card(folder, name)}
        _write_weights(ledger, home, hub, release, narrator)
        documents |= present
        gone = _gone(folder, release)
    for name in gone:
        if name not in documents:
            raise ShoalError(f"{folder / name}: is gone, and the ledger has no copy of it; reject the release")
        with atomic_file(folder / name) as file:
            file.write(documents[name])
    _check_bytes(folder, release)


def _write_weights(ledger: Ledger, home: Home, hub: Hub, release: ReleaseEntry, narrator: Narrator) -> None:
    from merging.writing.release import write_release  # torch, which reviews that write nothing again do without

    recipe, pool = stored_recipe(ledger, release.recipe), kept_pool(ledger, release.cycle)
    folders, config_source = fetch_origins(hub, pool, recipe, home, narrator)
    folder = home.release(release.cycle, release.role)
    shutil.rmtree(folder, ignore_errors=True)
    weights = open_sources(recipe.origins, folders, config_source)
    with with_picture_size(config_source, pool.picture_size) as settings:
        write_release(recipe, weights, folder, {}, config_source=settings)


def _check_bytes(folder: Path, release: ReleaseEntry) -> None:
    for file in inspect_folder(folder, release.files, with_weights=True):
        if file.state is FileState.EDITED and not is_editable(file.name):
            raise ShoalError(
                f"{folder / file.name}: written again, it has other bytes than those that were scored: another version "
                "of shoal or of its packages wrote them; reject the release, or use that version"
            )


def _gone(folder: Path, release: ReleaseEntry) -> list[str]:
    return [name for name in release.files if not (folder / name).is_file()]


def _is_edited_card(folder: Path, name: str) -> bool:
    return is_editable(name) and (folder / name).is_file()
