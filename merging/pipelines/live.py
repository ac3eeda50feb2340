"""A pipeline in memory that becomes one candidate after another, without touching the disk."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.live import LiveWeights
from merging.pipelines.index import listed_components
from merging.pipelines.loading import build_again, load_component, load_component_tokenizer, load_pipeline
from merging.pipelines.parts import TOKENIZER, CarrierShapes, PipelineParts, owner_of, plan_parts
from merging.pipelines.weights import open_pipeline
from merging.sources.model_config import read_model_config
from merging.sources.weights import Weights

if TYPE_CHECKING:
    from torch import nn

    from merging.recipes.path import PathRecipe
    from merging.recipes.weight_merge import WeightMerge


MOST_KEPT = 2
"""Components of one folder that are kept of other models than the carrier, for they may be as large as the denoiser."""


class LivePipelines:
    """The carrier's pipeline; its merged components are rewritten in place, those taken whole are swapped.

    carrier: folder of the pipeline whose files the result has. Give the release's writer the same one.
    sources: the weights of every model that recipes will name. dtype: of the pipeline, and of every recipe.
    Weights are undefined until the first recipe. Sums are done on the CPU whatever the device, so that a written
    release has the same bits. A component of another model is loaded when a recipe names it; the last ones are kept.
    Each component has a `weights_key`, which is another one whenever its weights are.
    """

    def __init__(self, carrier: Path, sources: Mapping[ModelId, Weights], *, dtype: str, device: str = "cpu") -> None:
        self._carrier, self._sources, self._dtype, self._device = carrier, sources, dtype, device
        self._config = read_model_config(carrier)
        self._files = open_pipeline(carrier).files
        self._shapes = CarrierShapes(self._config, sources, carrier)
        self._keys = count()
        self._whole: dict[tuple[str, ModelId | None], Any] = {}
        self._rewritten: dict[tuple[str, ModelId | None], tuple[nn.Module, LiveWeights]] = {}
        own = {folder: self._load(folder, None) for folder in self._files}
        self._whole |= {(folder, None): module for folder, module in own.items()}
        self.model: Any = load_pipeline(carrier, own, dtype)

    def merged(self, recipe: WeightMerge) -> Any:
        """The pipeline with a merge's weights: only what differs from the last recipe is changed.

        MergingError for a recipe of another dtype, for models that do not fit the carrier, and for a merge that is not
        finite (the pipeline is then half rewritten: make another recipe of it before drawing).
        """
        if recipe.dtype != self._dtype:
            raise MergingError(f"dtype: got {recipe.dtype}: this live pipeline was built in {self._dtype}")
        parts = plan_parts(recipe, self._shapes)
        for folder in parts.merged:
            module, weights = self._rewritten_component(folder, parts)
            self._rewrite(module, weights, recipe)
            self._put(folder, module)
        for folder, source in parts.copied.items():
            self._put(folder, self._component(folder, source))
        tokenizers = [folder for folder in listed_components(self._config) if folder.startswith(TOKENIZER)]
        if [folder for folder in tokenizers if self._put(folder, self._tokenizer(folder, parts.owner(folder)))]:
            self.model = build_again(self.model)  # some pipelines have read a tokenizer's length when they were built
        return self.model

    def path(self, recipe: PathRecipe) -> Any:
        """None: a pipeline has no path through its layers."""
        raise MergingError(f"{recipe.describe()}: pipelines are merged by their weights alone; use a merge method")

    def _rewrite(self, module: Any, weights: LiveWeights, recipe: WeightMerge) -> None:
        key = module.weights_key
        _set_key(module, None)  # until its weights are whole again
        _set_key(module, self._new_key() if weights.become(recipe) else key)

    def _new_key(self) -> str:
        """A key of a component's weights, which nobody then has to read to see that they are as they were."""
        return f"live {next(self._keys)}"

    def _put(self, folder: str, component: Any) -> bool:
        """Have the pipeline use a component; whether it used another one before."""
        if getattr(self.model, folder) is component:
            return False
        self.model.register_modules(**{folder: component})
        return True

    def _rewritten_component(self, folder: str, parts: PipelineParts) -> tuple[nn.Module, LiveWeights]:
        """A component whose weights become a merge's; one that is taken whole has its owner's settings."""
        owner = self._other_owner(folder, parts.owner(folder))
        if (folder, owner) not in self._rewritten:
            # Nothing else holds it any more; taken as it is later, it is loaded anew.
            module = _in_own_memory(self._component(folder, owner))
            del self._whole[folder, owner]
            state = module.state_dict(keep_vars=True)
            weights = {name: state[name.removeprefix(f"{folder}.")] for name in parts.merged[folder]}
            self._rewritten[folder, owner] = module, LiveWeights(weights, self._sources, self._dtype)
        return self._rewritten[folder, owner]

    def _other_owner(self, folder: str, source: ModelId | None) -> ModelId | None:
        """The model that a component is taken from; None if it is the carrier."""
        is_own = source is None or owner_of(self._sources, source, folder).folder == self._carrier
        return None if is_own else source

    def _component(self, folder: str, source: ModelId | None) -> nn.Module:
        """A component with its source's own weights."""
        known = self._other_owner(folder, source)
        found = self._whole.pop((folder, known), None)
        component: nn.Module = self._load(folder, known) if found is None else found
        self._whole[folder, known] = component  # behind those that were used before it
        others = [key for key in self._whole if key[0] == folder and key[1] is not None]
        for key in others[:-MOST_KEPT]:
            del self._whole[key]
        return component

    def _load(self, folder: str, source: ModelId | None) -> nn.Module:
        files = self._files if source is None else owner_of(self._sources, source, folder).files
        place = self._carrier if source is None else self._sources[source].folder
        module = load_component(place, files[folder], self._dtype).to(self._device)
        _set_key(module, self._new_key())
        return module

    def _tokenizer(self, folder: str, source: ModelId | None) -> Any:
        if (folder, source) not in self._whole:
            place = self._carrier if source is None else owner_of(self._sources, source, folder).folder
            self._whole[folder, source] = load_component_tokenizer(place, folder)
        return self._whole[folder, source]


def _set_key(module: Any, key: str | None) -> None:
    module.weights_key = key


def _in_own_memory(module: nn.Module) -> nn.Module:
    """A component whose weights are no longer mapped from its files: in writable memory, aligned as torch has it."""
    for weight in (*module.parameters(), *module.buffers()):
        weight.data = weight.data.clone()
    return module
