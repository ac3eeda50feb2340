"""Finds the models of a recipe before their weights are read, and of pipelines also those that are only parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.inspection.member import Unfit
from bot.hub.inspection.part import choose_part, inspect_part
from bot.hub.inspection.reading import check_config
from bot.hub.resolver import ModelFiles, ResolvedModel, Resolver
from bot.merge_command.recipe_file import RecipeFile
from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.components import read_components
from merging.models.stored_model import StoredModel
from merging.pipelines.index import COMPONENTS_KEY, INDEX, find_index_fault
from merging.pipelines.lora import check_lora, find_lora_file, open_lora
from merging.pipelines.partial.opening import is_partial, open_partial
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.sources.checkpoint import read_headers
from merging.sources.model_config import read_model_config

OnProgress = Callable[[str], None]


class NeedsCarrier(Unfit):
    """A part of a pipeline, which is read within a whole one."""

    def __init__(self) -> None:
        super().__init__("it is not a whole pipeline of diffusers, which the recipe needs besides: name one as carrier")


@dataclass(frozen=True)
class ResolvedPipeline(ResolvedModel):
    """A pipeline before its weights are read. changed: folders of the components that its adapter changes."""

    changed: frozenset[str] = frozenset()

    @property
    def changed_components(self) -> frozenset[str] | None:
        """Those that its adapter changes."""
        return self.changed

    def open_weights(self, sources: Path) -> PipelineWeights:
        """Its weights, once they are fetched."""
        return self._adapted(open_pipeline(self.files.folder(sources)), sources)

    def _adapted(self, base: PipelineWeights, sources: Path) -> PipelineWeights:
        if self.adapter is None:
            return base
        return open_lora(base, _place(self.adapter, sources))


@dataclass(frozen=True)
class PartialPipeline(ResolvedPipeline):
    """A part of a pipeline: a single-file checkpoint, or a denoiser alone. Its config is the carrier's with it."""

    @property
    def changed_components(self) -> None:
        """None: it is only a part."""
        return

    def read_companions(self, sources: Path) -> dict[str, bytes]:  # noqa: ARG002
        """None: all files are the carrier's."""
        return {}

    def read_small_files(self, hub: Hub) -> dict[str, bytes]:  # noqa: ARG002
        """None: all files are the carrier's."""
        return {}

    def open_weights(self, sources: Path) -> PipelineWeights:
        """Its weights, once they are fetched."""
        return self._adapted(
            open_partial(_place(self.files, sources), self.stored_model.config, "the carrier"), sources
        )


def _place(files: ModelFiles, sources: Path) -> Path:
    """The folder of files, or the one of them that is meant, once they are fetched."""
    folder, file = files.folder(sources), files.id.file if files.remote else None
    return folder / file if file else folder


def resolve_sources(recipe: RecipeFile, resolver: Resolver, on_progress: OnProgress) -> dict[ModelId, ResolvedModel]:
    """The models of all stages that are not stages themselves; ShoalError for what cannot be merged, a line each.

    Parts of pipelines are read within the recipe's carrier, else the first whole pipeline that it names.
    """
    stages = recipe.stages.ordered
    made = {stage.name for stage in stages}
    named = dict.fromkeys(name for stage in (recipe.stages.result, *stages) for name in stage.config.models)
    names = [name for name in named if name.location not in made]
    found: dict[ModelId, ResolvedModel] = {}
    reasons: dict[ModelId, str] = {}
    partial: dict[ModelId, str] = {}

    def look(name: ModelId, carrier: ResolvedModel | None = None) -> None:
        try:
            found[name] = resolve_source(resolver, name, carrier)
        except NeedsCarrier as error:
            partial[name] = str(error)
        except Unfit as error:
            reasons[name] = str(error)

    for number, name in enumerate(names, 1):
        on_progress(f"looking at {number}/{len(names)}: {name}")
        look(name)
    carrier = next((model for model in found.values() if isinstance(model, ResolvedPipeline)), None)
    if carrier is not None:
        for name in partial:
            look(name, carrier)
    else:
        reasons |= partial
    if reasons:
        errors = (stage.fault_error(stage.model_faults(reasons)) for stage in stages)
        raise ShoalError("\n".join(str(error) for error in errors if str(error)))
    return {name: found[name] for name in names}


def resolve_source(resolver: Resolver, model: ModelId, carrier: ResolvedModel | None) -> ResolvedModel:
    """Read a model, and the adapter on top of it, as far as that needs no weights.

    Raises:
        NeedsCarrier: it is a part of a pipeline, and no carrier is given.
        Unfit: one of them cannot be merged.
        ShoalError: the Hub cannot be asked.
    """
    place = resolver.find_place(model)
    try:
        if place is None:
            found = _read_repo(resolver, model, carrier)
        elif (place / INDEX).is_file():
            found = _read_pipeline(model, place)
        else:
            found = _read_part(model, place, carrier) if is_partial(place) else None
    except MergingError as error:
        raise Unfit(str(error).removeprefix(f"{place}: ")) from error
    if found is None:
        return resolver.resolve(model)
    return found if model.adapter is None else _with_adapter(resolver, found, model.adapter)


def _read_pipeline(model: ModelId, folder: Path) -> ResolvedPipeline:
    config = read_model_config(folder)
    if fault := find_index_fault(config):
        raise Unfit(fault)
    check_config(config)
    for settings in config[COMPONENTS_KEY].values():
        check_config(settings)
    return ResolvedPipeline(model, ModelFiles(model.plain, folder), _stored(open_pipeline(folder)), None)


def _read_repo(resolver: Resolver, model: ModelId, carrier: ResolvedModel | None) -> ResolvedPipeline | None:
    """A pipeline of the Hub, or a part of one; None for any other model."""
    candidate = resolver.find_repo(model.location, model.revision)
    if part := choose_part(candidate, model.file):
        if carrier is None:
            raise NeedsCarrier
        remote, weights = inspect_part(resolver.hub, part, carrier.stored_model.config, str(carrier.written))
        return PartialPipeline(model, ModelFiles(remote.ref, remote), _stored(weights), None)
    if not candidate.is_pipeline:
        return None
    member = resolver.inspect(model)
    stored = StoredModel(member.config, member.headers, frozenset(), {}, {}, member.components)
    return ResolvedPipeline(model, ModelFiles(member.ref, *member.remotes), stored, None)


def _read_part(model: ModelId, place: Path, carrier: ResolvedModel | None) -> PartialPipeline:
    if carrier is None:
        raise NeedsCarrier
    weights = open_partial(place, carrier.stored_model.config, str(carrier.written))
    return PartialPipeline(model, ModelFiles(model.plain, place), _stored(weights), None)


def _stored(weights: PipelineWeights) -> StoredModel:
    components: Mapping[str, tuple[str, ...]] = read_components(weights.config, str(weights.folder))
    return StoredModel(weights.config, weights.headers, frozenset(), {}, {}, components)


def _with_adapter(resolver: Resolver, base: ResolvedPipeline, adapter: ModelId) -> ResolvedPipeline:
    config, headers = base.stored_model.config, base.stored_model.stored
    try:
        place = resolver.find_place(adapter)
        if place is None:
            remote = resolver.read_lora(adapter, config, headers)
            files, own = ModelFiles(remote.ref, remote), remote.headers
        else:
            file = find_lora_file(place)
            files, own = ModelFiles(adapter, file), read_headers(file)
        changed = check_lora(config, headers, own, str(adapter))
    except (Unfit, MergingError) as error:
        raise Unfit(f"its adapter: {error}") from error
    return replace(base, adapter=files, changed=frozenset(name.partition(".")[0] for name in changed))
