"""The plan of a merge, made before any weights are read: its models, its tensors, its bytes, and what is wrong."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.discovery.conversion import describe_conversion
from bot.hub.download import SPARE_BYTES, is_complete
from bot.hub.inspection.member import RemoteWeights, Unfit
from bot.hub.resolver import ResolvedModel, Resolver, source_folder
from bot.merge_command.recipe_file import RecipeFile
from bot.merge_command.stage_plan import InputModel, StagePlan
from bot.merge_command.stages import Stage
from bot.merge_command.vocabularies import plan_stage_vocabulary, uncompared_remarks
from merging.dtypes import element_bytes
from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import ConfigFaults, MergeConfig, dotted
from merging.models.components import language_names
from merging.models.layer_config import is_tied
from merging.models.settings import (
    LANGUAGE_KEY,
    carrier_mismatch,
    language_settings,
    noted_differences,
    read_settings,
    settings_mismatch,
)
from merging.tensor_names import count_layers
from merging.tokenizers.release_files import release_files
from merging.writing.assembly import Assembly, assemble
from merging.writing.atomic import is_free

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class MergePlan:
    """A merge that can be done, as far as headers show.

    stages: each after those that it uses; the last one is the result.
    missing: repos that are not fetched yet.
    remarks: what a person should know, a line each.
    """

    recipe: RecipeFile
    stages: tuple[StagePlan, ...]
    missing: tuple[RemoteWeights, ...]
    remarks: tuple[str, ...]

    @property
    def result(self) -> StagePlan:
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
        while isinstance(model, StagePlan):
            model = model.config_source
        return model

    @property
    def layers(self) -> int:
        """Number of layers of the result."""
        return count_layers(language_names(self.assembly.shapes, self.assembly.components))

    @property
    def parameters(self) -> int:
        """Number of weights of the result."""
        return sum(math.prod(shape) for shape in self.assembly.shapes.values())

    @property
    def bytes(self) -> int:
        """Bytes of the result's weights."""
        return self.parameters * element_bytes(self.assembly.dtype)

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
    sources = _resolve_sources(recipe, resolver, on_progress)
    planned: dict[str | None, StagePlan] = {}
    for stage in recipe.stages.ordered:
        models = {name: planned.get(name.location) or sources[name] for name in stage.config.models}
        planned[stage.name] = _plan_stage(stage, models, resolver.hub)
    repos = {repo.ref: repo for model in sources.values() for repo in model.remotes}
    missing = tuple(repo for ref, repo in repos.items() if not is_complete(source_folder(home.sources, ref)))
    stages = tuple(planned.values())
    remarks = (*_conversion_remarks(repos.values()), *_remarks(recipe, stages, resolver.hub))
    plan = MergePlan(recipe, stages, missing, remarks)
    _check_room(plan, target, home)
    return plan


def _resolve_sources(recipe: RecipeFile, resolver: Resolver, on_progress: OnProgress) -> dict[ModelId, ResolvedModel]:
    """The models of all stages that are not stages themselves."""
    stages = recipe.stages.ordered
    made = {stage.name for stage in stages}
    named = dict.fromkeys(name for stage in stages for name in stage.config.models)
    names = [name for name in named if name.location not in made]
    found: dict[ModelId, ResolvedModel] = {}
    reasons: dict[ModelId, str] = {}
    for number, name in enumerate(names, 1):
        on_progress(f"looking at {number}/{len(names)}: {name}")
        try:
            found[name] = resolver.resolve(name)
        except Unfit as error:
            reasons[name] = str(error)
    if reasons:
        errors = (stage.fault_error(stage.model_faults(reasons)) for stage in stages)
        raise ShoalError("\n".join(str(error) for error in errors if str(error)))
    return found


def _plan_stage(stage: Stage, models: Mapping[ModelId, InputModel], hub: Hub) -> StagePlan:
    vocabulary = plan_stage_vocabulary(stage, models, hub)
    stored_models = {name: model.stored_model for name, model in models.items()}
    try:
        return StagePlan(stage, models, vocabulary, assemble(stage.config, stored_models, vocabulary))
    except ConfigFaults as error:
        raise stage.fault_error(error.faults) from error
    except MergingError as error:
        raise stage.wrap_error(error) from error


def _remarks(recipe: RecipeFile, planned: Sequence[StagePlan], hub: Hub) -> Iterator[str]:
    """Keys and stages without effect, differences that shapes do not show, and a tokenizer that is read otherwise."""
    for name in recipe.stages.unused:
        yield f"{name}: the result does not need this stage, so it is not made"
    for one in planned:
        yield from (f"{one.stage.label}{remark}" for remark in (*one.stage.config.remarks, *one.assembly.remarks))
        unalike = (*_setting_remarks(one), *uncompared_remarks(one.stage, one.models, hub))
        found = (*_tied_head_remark(one), *unalike, *_wide_dtype_remark(one), *one.mergekit_limits)
        yield from (f"{one.stage.label}{remark}" for remark in found)
    if note := release_files(planned[-1].read_small_files(hub)).note:
        yield note


def _conversion_remarks(repos: Iterable[RemoteWeights]) -> Iterator[str]:
    """A remark on each repo whose weights are pickled."""
    for repo in repos:
        if how := describe_conversion(repo.candidate):
            yield f"{repo.repo}: {how}"


def _tied_head_remark(planned: StagePlan) -> Iterator[str]:
    """A remark on a last slice without layers, meant for the head alone, where the head is tied to the embedding."""
    first, *_, last = (planned.stage.config.slices[0], *planned.stage.config.slices)
    models = [", ".join(str(entry.model) for entry in one.inputs) for one in (first, last)]
    without_layers = all(entry.layers and entry.layers[0] == entry.layers[1] for entry in last.inputs)
    if without_layers and models[0] != models[1] and is_tied(planned.assembly.config):
        place = f"{dotted(last.place)}: the head is the embedding, and so that of {models[0]}"
        yield f"{place}; {models[1]} gives the final norm alone"


def _setting_remarks(planned: StagePlan) -> Iterator[str]:
    """A remark for each model whose settings differ from the config source's, but for depth, which slices change."""
    config_source = _settings(planned.config_source)
    for name, model in planned.models.items():
        settings = _settings(model)
        difference = (carrier_mismatch if planned.assembly.components else settings_mismatch)(config_source, settings)
        noted = [
            f"its config says {one}" for one in noted_differences(*map(language_settings, (config_source, settings)))
        ]
        for remark in [difference] if difference else noted:
            yield f"{name}: {remark}; the result has that of {planned.assembly.lead}"


def _wide_dtype_remark(planned: StagePlan) -> Iterator[str]:
    """A remark if the file gives no dtype, and few tensors of another dtype make the whole result float32."""
    found = [(header, name) for name, model in planned.models.items() for header in model.stored_model.stored.values()]
    counts = Counter(header.dtype for header, _ in found)
    if planned.stage.config.dtype is None and len(counts) > 1:
        rare = min(counts, key=lambda dtype: counts[dtype])
        header, name = next(one for one in found if one[0].dtype == rare)
        stray = f"{counts[rare]:,} of {len(found):,} tensors are {rare}, such as {header.name} of {name}"
        yield f"dtype: none is given and {stray}: the result is float32; write `dtype: bfloat16` for a smaller one"


def _settings(model: InputModel) -> dict[str, object]:
    try:
        stored = model.stored_model
        found = read_settings(stored.config, count_layers(language_names(stored.stored, stored.components)))
    except MergingError:
        return {}
    chosen = ("vocab_size", "tie_word_embeddings")  # the merge decides on these by all of its models
    return {
        key: value
        for key, value in found.items()
        if "layer" not in key and key.removeprefix(LANGUAGE_KEY) not in chosen
    }


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
