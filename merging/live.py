"""One transformers model in memory that becomes one candidate after another, without touching the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from merging.checkpoint import Checkpoint
from merging.errors import MergingError
from merging.merge import loader, merge_tensor
from merging.placement import empty_model, places
from merging.recipe import Recipe, SourceRef


class LiveModel:
    """A causal language model built once; `become` rewrites its weights in place.

    skeleton: folder of the config and the generation config. Give the release's writer the same one.
    checkpoints: every source and base that recipes will name.
    dtype: of the model, and of every recipe it becomes.
    The weights are undefined until the first `become`. Sums are done on the CPU whatever the device, so that
    a written release, which is merged on the CPU too, has the same bits.
    """

    def __init__(
        self, skeleton: Path, checkpoints: Mapping[SourceRef, Checkpoint], *, dtype: str, device: str = "cpu"
    ) -> None:
        self._checkpoints = checkpoints
        self._dtype = dtype
        self.model: Any = empty_model(skeleton, dtype, "cpu")
        if (skeleton / "generation_config.json").is_file():
            self.model.generation_config = GenerationConfig.from_pretrained(skeleton, local_files_only=True)
        self.model.to(device).eval().requires_grad_(False)
        state: dict[str, Tensor] = self.model.state_dict(keep_vars=True)
        self._weights = {name: state[place] for name, place in places(self.model, checkpoints).items()}

    @torch.no_grad()
    def become(self, recipe: Recipe) -> None:
        """Rewrite every weight from the recipe; nothing is reallocated, tied weights stay tied.

        MergingError for a recipe of another dtype, of an unknown source, or whose merge is not finite (the
        model is then half rewritten: become another recipe before using it).
        """
        if recipe.dtype != self._dtype:
            raise MergingError(f"dtype: got {recipe.dtype}: this live model was built in {self._dtype}")
        load = loader(recipe, self._checkpoints)
        for name, weight in self._weights.items():
            weight.copy_(merge_tensor(recipe, name, load))
