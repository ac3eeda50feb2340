"""What fetched adapters add to their bases: computed and checked once, and stored for all candidates to come."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from bot.hub.discovery.candidate import Verdict
from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Family
from bot.hub.resolver import adapter_place, differences_folder, folder_kind, source_folder
from merging.errors import MergingError
from merging.identity import ModelId


def store_adapters(pool: Family, folders: Mapping[ModelId, Path]) -> list[Verdict]:
    """Store what each adapter adds, where it is not stored yet; the verdicts on adapters that cannot be used.

    folders: those of the fetched repos, by commit. An adapter is refused that makes a weight infinite or changes none.
    """
    return [verdict for member in pool.read_models if (verdict := _store(member, folders))]


def is_stored(member: Member, sources: Path) -> bool:
    """Whether what a member's adapter adds is stored already. sources: the folder of all that is fetched."""
    model = member.ref
    return model.adapter is not None and differences_folder(source_folder(sources, model.adapter), model.plain).is_dir()


def _store(member: Member, folders: Mapping[ModelId, Path]) -> Verdict | None:
    from merging.sources.renamed import open_model
    from merging.writing.differences import store_differences

    model = member.ref
    if model.adapter is None:
        return None
    place, target = folders[model.adapter], differences_folder(folders[model.adapter], model.plain)
    if target.is_dir():
        return None
    adapter = adapter_place(model, folders)
    base, kind = open_model(folders[model.plain]), folder_kind(folders[model.plain])
    try:
        store_differences(kind.adapt(base, adapter), target)
        kind.adapt(base, adapter, target).verify_changes()
    except MergingError as error:
        shutil.rmtree(target, ignore_errors=True)
        what = str(error).replace(f"{place}{os.sep}", "").replace(f"{folders[model.plain]}{os.sep}", "")
        return member.refuse(f"damaged: on its base at {str(model.revision)[:12]}: {what}")
    return None
