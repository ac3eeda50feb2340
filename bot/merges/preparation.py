"""All that is decided before a merge reads a weight: which models, which tensors, how many bytes, what is wrong."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import ShoalError
from bot.home import Home
from bot.hub import Hub
from bot.merges.origins import Origin, find
from bot.merges.recipe_file import RecipeFile
from bot.merges.vocabularies import uncompared, vocabulary_of
from bot.sources.configs import settings, settings_mismatch
from bot.sources.fetch import SPARE_BYTES, is_complete, place
from bot.sources.inspection import Member, Unfit
from merging.errors import MergingError
from merging.groups import layer_count
from merging.mergekit_config import ConfigFaults, MergeConfig, ModelName

if TYPE_CHECKING:
    from merging.assembly import Assembly
    from merging.vocabulary import Vocabulary

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

Told = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A merge that can be done, as far as headers tell.

    origins: every model that it names. vocabulary: the result's, if it is built anew. missing: the repos that are to
    be fetched. remarks: what a person should know, a line each.
    """

    recipe: RecipeFile
    origins: Mapping[ModelName, Origin]
    vocabulary: Vocabulary | None
    assembly: Assembly
    missing: tuple[Member, ...]
    remarks: tuple[str, ...]

    @property
    def config(self) -> MergeConfig:
        """What the file says."""
        return self.recipe.config

    @property
    def layers(self) -> int:
        """Layers of the result."""
        return layer_count(self.assembly.shapes)

    @property
    def parameters(self) -> int:
        """Weights of the result."""
        return sum(math.prod(shape) for shape in self.assembly.shapes.values())

    @property
    def bytes(self) -> int:
        """Bytes of the result's weights."""
        return self.parameters * _BYTES[self.assembly.dtype]

    @property
    def bytes_read(self) -> int:
        """Bytes of the tensors that are merged, as they are stored."""
        return sum(origin.bytes for origin in self.origins.values())

    @property
    def download_bytes(self) -> int:
        """Bytes that are to be fetched."""
        return sum(member.candidate.download_bytes for member in self.missing)


def prepare(recipe: RecipeFile, target: Path, home: Home, hub: Hub, tell: Told) -> Plan:
    """Find every model, plan every tensor, and see that there is room; no weight of the Hub is read.

    Raises:
        ShoalError: everything that stands in the way, a line each.
    """
    from merging.assembly import assemble

    if target.exists():
        raise ShoalError(f"{target}: it is there already: remove it, or give another folder")
    _check_ground(target, _nearest(target.parent))
    origins = _origins(recipe, hub, tell)
    vocabulary = vocabulary_of(recipe, origins, hub)
    blueprints = {name: origin.blueprint for name, origin in origins.items()}
    try:
        assembly = assemble(recipe.config, blueprints, vocabulary)
    except ConfigFaults as error:
        raise recipe.told(error.faults) from error
    except MergingError as error:
        raise ShoalError("\n".join(f"{recipe.path}: {line}" for line in str(error).splitlines())) from error
    members = {member.ref: member for origin in origins.values() for member in origin.members}
    missing = tuple(member for ref, member in members.items() if not is_complete(place(home.sources, ref)))
    remarks = (*recipe.config.remarks, *_remarks(recipe.config, origins), *uncompared(recipe, origins))
    remarks += tuple(_widened(recipe.config, origins))
    plan = Plan(recipe, origins, vocabulary, assembly, missing, remarks)
    _check_room(plan, target, home)
    return plan


def _origins(recipe: RecipeFile, hub: Hub, tell: Told) -> dict[ModelName, Origin]:
    found: dict[ModelName, Origin] = {}
    reasons: dict[ModelName, str] = {}
    for number, name in enumerate(recipe.config.models, 1):
        tell(f"looking at {number}/{len(recipe.config.models)}: {name}")
        try:
            found[name] = find(name, recipe.path.parent, hub)
        except Unfit as error:
            reasons[name] = str(error)
    if reasons:
        raise recipe.told(recipe.of_models(reasons))
    return found


def _remarks(config: MergeConfig, origins: Mapping[ModelName, Origin]) -> Iterator[str]:
    """In what the models differ that shapes do not tell; depth aside, which slices may change."""
    donor = _settings(origins[config.donor])
    for name, origin in origins.items():
        if difference := settings_mismatch(donor, _settings(origin)):
            yield f"{name}: {difference}; the result has what {config.donor} says"


def _widened(config: MergeConfig, origins: Mapping[ModelName, Origin]) -> Iterator[str]:
    """Which tensor makes the result wider than most of what it is made from, where the file gives no dtype."""
    found = [(header, name) for name, origin in origins.items() for header in origin.blueprint.stored.values()]
    counts = Counter(header.dtype for header, _ in found)
    if config.dtype is None and len(counts) > 1:
        rare = min(counts, key=lambda dtype: counts[dtype])
        header, name = next(one for one in found if one[0].dtype == rare)
        stray = f"{counts[rare]:,} of {len(found):,} tensors are {rare}, such as {header.name} of {name}"
        yield f"dtype: none is given and {stray}: the result is float32; write `dtype: bfloat16` for a smaller one"


def _settings(origin: Origin) -> dict[str, object]:
    try:
        found = settings(origin.blueprint.config, layer_count(origin.blueprint.stored))
    except ValueError:
        return {}
    return {key: value for key, value in found.items() if "layer" not in key and key != "vocab_size"}


def _check_room(plan: Plan, target: Path, home: Home) -> None:
    """Room for the download and for the result, on one disk or on two."""
    needs = [(_nearest(target.parent), plan.bytes), (_nearest(home.sources), plan.download_bytes)]
    by_disk: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs:
        disk = folder.stat().st_dev
        first, before = by_disk.get(disk, (folder, 0))
        by_disk[disk] = (first, before + needed)
    for folder, needed in by_disk.values():
        free = shutil.disk_usage(folder).free
        if needed and needed + SPARE_BYTES > free:
            raise ShoalError(
                f"{folder}: {free:,} bytes free where the merge needs {needed:,} and some room; "
                "free the disk, or choose another folder or --home"
            )


def _check_ground(target: Path, above: Path) -> None:
    """above: what of the target's parents is there; it must be a folder that takes new ones."""
    if not above.is_dir():
        raise ShoalError(f"{target}: {above} is a file: give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ShoalError(f"{target}: {above} cannot be written to: give another folder")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
