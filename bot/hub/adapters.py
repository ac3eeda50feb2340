"""What fetched adapters add to their bases: computed and checked once, and stored for all candidates to come."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from bot.hub.discovery.candidate import Verdict
from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Family
from bot.hub.resolver import adapter_place, differences_folder, source_folder
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
    from merging.sources.adapter import AdapterCheckpoint
    from merging.sources.renamed import open_model
    from merging.writing.differences import store_differences

    model = member.ref
    if model.adapter is None:
        return None
    if model.adapter.file is not None:
        return _check_lora(member, folders)
    folder, target = folders[model.adapter], differences_folder(folders[model.adapter], model.plain)
    if target.is_dir():
        return None
    base = open_model(folders[model.plain])
    try:
        adapter = AdapterCheckpoint.open(base, folder)
        store_differences(adapter, target)
        AdapterCheckpoint.open(base, folder, target).verify_changes()
    except MergingError as error:
        shutil.rmtree(target, ignore_errors=True)
        what = str(error).replace(f"{folder}{os.sep}", "")
        return member.refuse(f"damaged: on its base at {str(model.revision)[:12]}: {what}")
    return None


def _check_lora(member: Member, folders: Mapping[ModelId, Path]) -> Verdict | None:
    """As `_store`, of a LoRA on a pipeline, whose products are small enough to be computed at each use."""
    from merging.pipelines.lora import open_lora
    from merging.pipelines.weights import open_pipeline

    try:
        open_lora(open_pipeline(folders[member.ref.plain]), adapter_place(member.ref, folders)).verify_changes()
    except MergingError as error:
        what = str(error).replace(f"{folders[member.ref.plain]}{os.sep}", "")
        return member.refuse(f"damaged: {what}")
    return None
