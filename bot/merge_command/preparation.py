"""All that is decided before a merge reads a weight: which models, which tensors, how many bytes, what is wrong."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.download import SPARE_BYTES, is_complete, place
from bot.hub.inspection import Member, Unfit
from bot.merge_command.origins import Origin, find
from bot.merge_command.planned import Model, PlannedStage
from bot.merge_command.recipe_file import RecipeFile
from bot.merge_command.stages import Stage
from bot.merge_command.vocabularies import uncompared, vocabulary_of
from merging.errors import MergingError
from merging.mergekit.config import ConfigFaults, MergeConfig, ModelName, dotted
from merging.models.layer_config import is_tied
from merging.models.settings import settings, settings_mismatch
from merging.partition import layer_count
from merging.writing.assembly import Assembly, assemble

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class MergePlan:
    """A merge that can be done, as far as headers tell.

    stages: each behind those that it uses; the last one is the result. missing: the repos that are to be fetched.
    remarks: what a person should know, a line each.
    """

    recipe: RecipeFile
    stages: tuple[PlannedStage, ...]
    missing: tuple[Member, ...]
    remarks: tuple[str, ...]

    @property
    def result(self) -> PlannedStage:
        """The merge that is written."""
        return self.stages[-1]

    @property
    def config(self) -> MergeConfig:
        """What the file says of the result."""
        return self.recipe.config

    @property
    def assembly(self) -> Assembly:
        """How each tensor of the result is made."""
        return self.result.assembly

    @cached_property
    def origins(self) -> dict[ModelName, Origin]:
        """Every model that is on the Hub or in a folder, whatever stage it is for; the result's own come first."""
        stages = (self.result, *self.stages[:-1])
        found = (item for stage in stages for item in stage.models.items())
        return {name: model for name, model in found if isinstance(model, Origin)}

    @property
    def config_source(self) -> Origin:
        """The model on the Hub or in a folder whose config and tokenizer the result has."""
        model: Model = self.result
        while isinstance(model, PlannedStage):
            model = model.config_source
        return model

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


def prepare(recipe: RecipeFile, target: Path, home: Home, hub: Hub, on_progress: OnProgress) -> MergePlan:
    """Find every model, plan every tensor, and see that there is room; no weight of the Hub is read.

    Raises:
        ShoalError: everything that stands in the way, a line each.
    """
    if target.exists():
        raise ShoalError(f"{target}: it is there already: remove it, or give another folder")
    _check_ground(target, _nearest(target.parent))
    origins = _origins(recipe, hub, on_progress)
    planned: dict[str | None, PlannedStage] = {}
    for stage in recipe.stages.ordered:
        models = {name: planned.get(name.path) or origins[name] for name in stage.config.models}
        planned[stage.name] = _planned(stage, models, hub)
    members = {member.ref: member for origin in origins.values() for member in origin.members}
    missing = tuple(member for ref, member in members.items() if not is_complete(place(home.sources, ref)))
    plan = MergePlan(recipe, tuple(planned.values()), missing, tuple(_remarks(recipe, planned.values(), hub)))
    _check_room(plan, target, home)
    return plan


def _origins(recipe: RecipeFile, hub: Hub, on_progress: OnProgress) -> dict[ModelName, Origin]:
    """The models of all stages, but for those that are stages themselves."""
    stages = recipe.stages.ordered
    made = {stage.name for stage in stages}
    named = dict.fromkeys(name for stage in stages for name in stage.config.models)
    names = [name for name in named if name.path not in made]
    found: dict[ModelName, Origin] = {}
    reasons: dict[ModelName, str] = {}
    for number, name in enumerate(names, 1):
        on_progress(f"looking at {number}/{len(names)}: {name}")
        try:
            found[name] = find(name, recipe.path.parent, hub)
        except Unfit as error:
            reasons[name] = str(error)
    if reasons:
        told = (stage.fault_error(stage.of_models(reasons)) for stage in stages)
        raise ShoalError("\n".join(str(error) for error in told if str(error)))
    return found


def _planned(stage: Stage, models: Mapping[ModelName, Model], hub: Hub) -> PlannedStage:
    vocabulary = vocabulary_of(stage, models, hub)
    stored_models = {name: model.stored_model for name, model in models.items()}
    try:
        return PlannedStage(stage, models, vocabulary, assemble(stage.config, stored_models, vocabulary))
    except ConfigFaults as error:
        raise stage.fault_error(error.faults) from error
    except MergingError as error:
        raise stage.wrap_error(error) from error


def _remarks(recipe: RecipeFile, planned: Iterable[PlannedStage], hub: Hub) -> Iterator[str]:
    """What the file says to no effect, and in what the models differ that shapes do not tell."""
    for name in recipe.stages.unused:
        yield f"{name}: the result does not need this stage, so it is not made"
    for one in planned:
        yield from (f"{one.stage.label}{remark}" for remark in one.stage.config.remarks)
        unalike = (*_differences(one), *uncompared(one.stage, one.models, hub))
        found = (*_tied_head(one), *unalike, *_widened(one))
        yield from (f"{one.stage.label}{remark}" for remark in found)


def _tied_head(planned: PlannedStage) -> Iterator[str]:
    """A last slice without layers, written for the head alone, where the head is the embedding."""
    first, *_, last = (planned.stage.config.slices[0], *planned.stage.config.slices)
    models = [", ".join(str(entry.model) for entry in one.inputs) for one in (first, last)]
    without_layers = all(entry.layers and entry.layers[0] == entry.layers[1] for entry in last.inputs)
    if without_layers and models[0] != models[1] and is_tied(planned.assembly.config):
        place = f"{dotted(last.place)}: the head is the embedding, and so that of {models[0]}"
        yield f"{place}; {models[1]} gives the final norm alone"


def _differences(planned: PlannedStage) -> Iterator[str]:
    """Settings of the donor that other models do not have; depth aside, which slices may change."""
    config_source = _settings(planned.config_source)
    for name, model in planned.models.items():
        if difference := settings_mismatch(config_source, _settings(model)):
            yield f"{name}: {difference}; the result has what {planned.stage.config.config_source} says"


def _widened(planned: PlannedStage) -> Iterator[str]:
    """Which tensor makes the result wider than most of what it is made from, where the file gives no dtype."""
    found = [(header, name) for name, model in planned.models.items() for header in model.stored_model.stored.values()]
    counts = Counter(header.dtype for header, _ in found)
    if planned.stage.config.dtype is None and len(counts) > 1:
        rare = min(counts, key=lambda dtype: counts[dtype])
        header, name = next(one for one in found if one[0].dtype == rare)
        stray = f"{counts[rare]:,} of {len(found):,} tensors are {rare}, such as {header.name} of {name}"
        yield f"dtype: none is given and {stray}: the result is float32; write `dtype: bfloat16` for a smaller one"


def _settings(model: Model) -> dict[str, object]:
    try:
        found = settings(model.stored_model.config, layer_count(model.stored_model.stored))
    except ValueError:
        return {}
    return {key: value for key, value in found.items() if "layer" not in key and key != "vocab_size"}


def _check_room(plan: MergePlan, target: Path, home: Home) -> None:
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
