"""The plan of a merge, made before any weights are read: its models, its tensors, its bytes, and what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.discovery.conversion import describe_conversion
from bot.hub.download import SPARE_BYTES, is_complete
from bot.hub.inspection.member import RemoteWeights
from bot.hub.resolver import ResolvedModel, Resolver, source_folder
from bot.merge_command.kinds import find_stage_kind
from bot.merge_command.planned import InputModel, PlannedStage
from bot.merge_command.recipe_file import RecipeFile
from bot.merge_command.sources import OnProgress, resolve_sources
from merging.identity import ModelId
from merging.mergekit.config import MergeConfig
from merging.tokenizers.release_files import release_files
from merging.writing.assembly import Assembly
from merging.writing.atomic import is_free


@dataclass(frozen=True)
class MergePlan:
    """A merge that can be done, as far as headers show.

    stages: each after those that it uses; the last one is the result.
    missing: repos that are not fetched yet.
    remarks: what a person should know, a line each.
    """

    recipe: RecipeFile
    stages: tuple[PlannedStage, ...]
    missing: tuple[RemoteWeights, ...]
    remarks: tuple[str, ...]

    @property
    def result(self) -> PlannedStage:
        """The merge that is written."""
        return self.stages[-1]

    @property
    def config(self) -> MergeConfig:
        """The recipe of the result."""
        return self.recipe.config

    @property
    def assembly(self) -> Assembly:
        """The plan of each tensor of the result."""
        return self.result.assembly

    @cached_property
    def sources(self) -> dict[ModelId, ResolvedModel]:
        """Every folder and repo that any stage reads, those of the result first."""
        stages = (self.result, *self.stages[:-1])
        found = (item for stage in stages for item in stage.models.items())
        return {name: model for name, model in found if isinstance(model, ResolvedModel)}

    @property
    def config_source(self) -> ResolvedModel:
        """The folder or repo whose config and tokenizer the result has."""
        model: InputModel = self.result
        while not isinstance(model, ResolvedModel):
            model = model.config_source
        return model

    @property
    def parameters(self) -> int:
        """Number of weights of the result."""
        return self.assembly.parameters

    @property
    def bytes(self) -> int:
        """Bytes of the result's weights."""
        return self.result.written_bytes

    @property
    def bytes_read(self) -> int:
        """Bytes of the tensors that are merged, as they are stored."""
        return sum(model.stored_bytes for model in self.sources.values())

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch."""
        return sum(repo.candidate.download_bytes for repo in self.missing)


def plan_merge(recipe: RecipeFile, target: Path, home: Home, resolver: Resolver, on_progress: OnProgress) -> MergePlan:
    """Find every model, plan every tensor and check that there is room, without any weights from the Hub.

    Raises:
        ShoalError: everything that prevents the merge, a line each.
    """
    if not is_free(target):
        raise ShoalError(f"{target}: already exists; remove it, or choose another folder")
    _check_parent(target, _nearest_existing(target.parent))
    sources = resolve_sources(recipe, resolver, on_progress)
    planned: dict[str | None, PlannedStage] = {}
    for stage in recipe.stages.ordered:
        models = {name: planned.get(name.location) or sources[name] for name in stage.config.models}
        planned[stage.name] = find_stage_kind(stage, models).plan(stage, models, resolver.hub)
    repos = {repo.ref: repo for model in sources.values() for repo in model.remotes}
    missing = tuple(repo for ref, repo in repos.items() if not is_complete(source_folder(home.sources, ref)))
    stages = tuple(planned.values())
    remarks = (*_conversion_remarks(repos.values()), *_remarks(recipe, stages, resolver.hub))
    plan = MergePlan(recipe, stages, missing, remarks)
    _check_room(plan, target, home)
    return plan


def _remarks(recipe: RecipeFile, planned: Sequence[PlannedStage], hub: Hub) -> Iterator[str]:
    """Keys and stages without effect, differences that shapes do not show, and a tokenizer that is read otherwise."""
    for name in recipe.stages.unused:
        yield f"{name}: the result does not need this stage, so it is not made"
    for one in planned:
        more = find_stage_kind(one.stage, one.models).remarks(one, hub)
        remarks = (*one.stage.config.remarks, *one.assembly.remarks, *more)
        yield from (f"{one.stage.label}{remark}" for remark in remarks)
    if note := release_files(planned[-1].read_small_files(hub)).note:
        yield note


def _conversion_remarks(repos: Iterable[RemoteWeights]) -> Iterator[str]:
    """A remark on each repo whose weights are pickled."""
    for repo in repos:
        if how := describe_conversion(repo.candidate):
            yield f"{repo.repo}: {how}"


def _check_room(plan: MergePlan, target: Path, home: Home) -> None:
    """ShoalError unless there is room for the download and the result, which may share a disk."""
    fetched = plan.download_bytes + max((repo.conversion_bytes for repo in plan.missing), default=0)
    needs = [(_nearest_existing(target.parent), plan.bytes), (_nearest_existing(home.sources), fetched)]
    by_disk: dict[int, tuple[Path, int]] = {}
    for folder, needed in needs:
        disk = folder.stat().st_dev
        first, before = by_disk.get(disk, (folder, 0))
        by_disk[disk] = (first, before + needed)
    for folder, needed in by_disk.values():
        free = shutil.disk_usage(folder).free
        if needed and needed + SPARE_BYTES > free:
            raise ShoalError(
                f"{folder}: {free:,} bytes free where the merge needs {needed + SPARE_BYTES:,}; "
                "free the disk, or choose another folder or --home"
            )


def _check_parent(target: Path, above: Path) -> None:
    """above: the nearest parent of the target that exists; it must be a folder in which another can be made."""
    if not above.is_dir():
        raise ShoalError(f"{target}: {above} is a file: give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ShoalError(f"{target}: {above} cannot be written to: give another folder")


def _nearest_existing(folder: Path) -> Path:
    """The folder itself, or its nearest parent that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
