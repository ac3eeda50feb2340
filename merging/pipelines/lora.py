"""A pipeline with a LoRA, tensor by tensor: as diffusers saves LoRAs, or as kohya's scripts do.

The weights are those of diffusers' `fuse_lora`: W + s·B·A. What is added is computed in float32 and not rounded: the
merge that reads it rounds once, at its end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from merging.dtypes import NAMES
from merging.errors import MergingError
from merging.kernels.low_rank import low_rank_product
from merging.pipelines.diffusers_classes import import_diffusers
from merging.pipelines.index import COMPONENTS_KEY, denoiser_folder, listed_components
from merging.pipelines.lora_files import choose_lora_file
from merging.pipelines.naming import name_pipeline_tensors
from merging.pipelines.weights import PipelineWeights
from merging.sources.checkpoint import Checkpoint, is_finite, read_headers
from merging.sources.family import TensorHeader
from merging.sources.weights import AdaptedTensor, AdaptedWeights

_Found = tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]
"""The matrices of a LoRA by keys with diffusers' module names, alphas by keys, settings."""

_NOT_PLAIN = ("dora_scale", "hada_", "lokr_", "oft_", ".lora_mid.", "lora_magnitude_vector", "diff_b", ".diff")
_OLD_ATTENTION = re.compile(r"\.processor\.(to_[qkv]|to_out)_lora\.(down|up)")
_MATRIX = re.compile(
    r"(?P<module>.+?)\.(?:lora_(?P<letter>[AB])|lora(?:_linear_layer)?\.(?P<side>down|up))(?:\.[\w-]+)??\.weight"
)


@dataclass(frozen=True)
class LowRankChange:
    """What a LoRA adds to a weight: scaling · up · down.

    down: (rank, in), for a convolution (rank, in, height, width). up: (out, rank), for a convolution with 1 × 1.
    """

    down: Tensor
    up: Tensor
    scaling: float

    @property
    def rows_and_columns(self) -> tuple[int, int]:
        """The shape of the product, a convolution's kernel flattened."""
        return self.up.shape[0], self.down.flatten(1).shape[1]

    def product(self, shape: tuple[int, ...]) -> Tensor:
        """What is added to a weight of this shape, in float32."""
        up, down = self.up.flatten(1).float(), self.down.flatten(1).float()
        return low_rank_product(up, down, self.scaling).view(shape)

    @property
    def is_finite(self) -> bool:
        """Whether its matrices hold neither NaN nor infinity."""
        return is_finite(self.up) and is_finite(self.down)

    @property
    def is_zero(self) -> bool:
        """Whether it adds nothing."""
        return not (bool(self.up.any()) and bool(self.down.any()))


@dataclass(frozen=True)
class StoredChange:
    """The same once it is stored under the weight's name."""

    stored: Checkpoint
    name: str

    def product(self, shape: tuple[int, ...]) -> Tensor:
        """What is added to a weight of this shape, as a view of the mapped file."""
        return self.stored.tensor(self.name).view(shape)

    @property
    def is_finite(self) -> bool:
        """Whether it holds neither NaN nor infinity."""
        return is_finite(self.stored.tensor(self.name))

    @property
    def is_zero(self) -> bool:
        """Whether it adds nothing."""
        return not bool(self.stored.tensor(self.name).any())


class LoraPipeline(PipelineWeights, AdaptedWeights):
    """The weights of a pipeline with a LoRA, by the names of the pipeline's; the changed ones come in float32."""

    difference_dtype = "float32"

    def __init__(
        self, base: PipelineWeights, source: Path, changes: Mapping[str, LowRankChange | StoredChange]
    ) -> None:
        """Use `open_lora`. source: the LoRA's file. changes: by the names of the base's tensors."""
        names = {name: base.stored_name(name) for name in base.names}
        super().__init__(base.folder, base.components, names, base.files.values(), base.config)
        self._base, self._source, self._changes = base, source, changes
        self.changed = frozenset(name.partition(".")[0] for name in changes)

    @cached_property
    def differing(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that the LoRA changes, by name."""
        return {name: self.header(name).shape for name in sorted(self._changes)}

    @torch.no_grad()
    def compute_difference(self, name: str) -> Tensor:
        """What is added to a tensor, in float32."""
        return self._changes[name].product(self.header(name).shape)

    @torch.no_grad()
    def tensor(self, name: str) -> Tensor:
        """A tensor with what the LoRA adds; it must not be written to."""
        return AdaptedTensor(self._base.tensor(name), self._difference(name)).total()

    def adapted(self, name: str) -> AdaptedTensor:
        """A tensor as the change of the base's."""
        return AdaptedTensor(self._base.tensor(name), self._difference(name))

    def may_change(self, name: str) -> bool:
        """Whether the LoRA changes a tensor."""
        return name in self._changes

    def verify(self) -> None:
        """Read every weight; MergingError names the tensor that is not finite, and a LoRA that changes nothing."""
        self._base.verify()
        for name in self._changes:
            if not is_finite(self.tensor(name)):
                raise MergingError(f"{self._source}: tensor {name} becomes NaN or infinite with this LoRA")
        self.verify_changes()

    def verify_changes(self) -> None:
        """As `verify`, of the LoRA alone."""
        for name, change in self._changes.items():
            if not change.is_finite:
                raise MergingError(f"{self._source}: what it adds to tensor {name} is not finite")
        if all(change.is_zero for change in self._changes.values()):
            raise MergingError(f"{self._source}: it changes nothing: all that it adds to its base is zero")

    def _difference(self, name: str) -> Tensor | None:
        return self.compute_difference(name) if name in self._changes else None


def open_lora(base: PipelineWeights, place: Path, differences: Path | None = None) -> LoraPipeline:
    """Add a LoRA to a pipeline; MergingError if it is of another kind than plain LoRA, or for another base.

    place: its file in safetensors, or a folder with one. differences: a folder that `store_differences` wrote, so that
    what it adds need not be computed at each call; its matrices are not read then.
    """
    source = find_lora_file(place)
    if differences is not None:
        stored = Checkpoint.open(differences)
        return LoraPipeline(base, source, {name: StoredChange(stored, name) for name in stored.names})
    _check_plain(read_headers(source), str(source))
    found = _read(str(source.parent), base.config, str(source), weight_name=source.name)
    return LoraPipeline(base, source, _plan_changes(found, base.config, base.headers, str(source)))


def check_lora(
    config: Mapping[str, Any], base: Mapping[str, TensorHeader], lora: Mapping[str, TensorHeader], label: str
) -> frozenset[str]:
    """Check a LoRA by its headers alone; returns the names of the tensors that it changes.

    config: the base's. base: its headers, by the names that merges have. label: the LoRA's name in errors. MergingError
    as `open_lora` raises it.
    """
    _check_plain(lora, label)
    blank = {name: torch.zeros(()).expand(header.shape) for name, header in lora.items()}  # takes no memory
    return frozenset(_plan_changes(_read(blank, config, label), config, base, label))


def _check_plain(headers: Mapping[str, TensorHeader], label: str) -> None:
    if not headers:
        raise MergingError(f"{label}: it has no tensors")
    for key, header in headers.items():
        if any(mark in key for mark in _NOT_PLAIN):
            raise MergingError(f"{label}: tensor {key} is none that plain LoRA has")
        if header.dtype not in NAMES:
            raise MergingError(f"{label}: tensor {key} is of dtype {header.dtype}, which cannot be merged")


def _plan_changes(
    found: _Found, config: Mapping[str, Any], base: Mapping[str, TensorHeader], label: str
) -> dict[str, LowRankChange]:
    """What a LoRA changes, by the names of the base's tensors."""
    state, alphas, metadata = found
    matrices: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        module, side = _parse(key, label)
        matrices.setdefault(module, {})[side] = tensor
    scalings = {_parse(key.removesuffix(".alpha"), label)[0]: float(alpha) for key, alpha in alphas.items()}
    names = _tensor_names(config, label, matrices)
    changes = {}
    for module, sides in matrices.items():
        if sides.keys() != {"down", "up"}:
            raise MergingError(f"{label}: module {module} has only one of its two matrices")
        rank = sides["down"].shape[0]
        alpha = scalings.get(module, _said_alpha(metadata, module, rank))
        change = LowRankChange(sides["down"], sides["up"], alpha / rank)
        changes[names[module]] = _checked(change, module, base.get(names[module]), names[module], label)
    return changes


def find_lora_file(place: Path) -> Path:
    """A LoRA's file, given it or a folder with one; MergingError where the folder has none, or several."""
    if place.is_file():
        return place
    try:
        return place / choose_lora_file([path.name for path in place.iterdir()])
    except MergingError as error:
        raise MergingError(f"{place}: {error}") from error


def _read(lora: str | dict[str, Tensor], config: Mapping[str, Any], label: str, **where: str) -> _Found:
    """Read a LoRA by diffusers' own conversion. lora: its folder, or its tensors. where: its file in the folder."""
    pipeline = getattr(import_diffusers(), str(config["_class_name"]))
    if not hasattr(pipeline, "lora_state_dict"):
        raise MergingError(f"{label}: diffusers reads no LoRAs for {config['_class_name']}")
    denoiser = denoiser_folder(config)
    sizes = {"unet_config": _Settings(config[COMPONENTS_KEY][denoiser])} if denoiser == "unet" else {}
    told = {"return_alphas": True} if denoiser == "transformer" else {}
    arguments = {**sizes, **told, "return_lora_metadata": True, "local_files_only": True, "use_safetensors": True}
    try:
        read = pipeline.lora_state_dict(lora, **where, **arguments)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise MergingError(f"{label}: diffusers cannot read this LoRA for {pipeline.__name__} ({reason})") from error
    state, *between, metadata = read
    return state, (between[0] if between else None) or {}, metadata or {}


class _Settings(dict[str, Any]):
    """A config whose keys are attributes, too, as diffusers has it."""

    def __getattr__(self, key: str) -> Any:
        return self[key]


def _parse(key: str, label: str) -> tuple[str, str]:
    """(module, "down" or "up") of a matrix."""

    def modern(found: re.Match[str]) -> str:
        return f".{found[1]}{'.0' if found[1] == 'to_out' else ''}.lora.{found[2]}"

    found = _MATRIX.fullmatch(_OLD_ATTENTION.sub(modern, key))
    if found is None and not key.endswith(".weight"):
        return key, ""  # of an alpha: the module itself
    if found is None:
        raise MergingError(f"{label}: tensor {key} is none that plain LoRA has")
    side = found["side"] or {"A": "down", "B": "up"}[found["letter"]]
    return found["module"], side


def _tensor_names(config: Mapping[str, Any], label: str, modules: Mapping[str, object]) -> dict[str, str]:
    """Module of a LoRA → the name of its weight in merges."""
    known = {module for module in modules if module.partition(".")[0] in listed_components(config)}
    named = name_pipeline_tensors(config, label, [f"{module}.weight" for module in sorted(known)])
    return {module: named.get(f"{module}.weight", f"{module}.weight") for module in modules}


def _said_alpha(metadata: Mapping[str, Any], module: str, rank: int) -> float:
    """The alpha that a LoRA's settings give a module; its rank, which scales by 1, where they say nothing."""
    component, _, own = module.partition(".")
    patterns = metadata.get(f"{component}.alpha_pattern") or {}
    matching = [alpha for pattern, alpha in patterns.items() if own == pattern or own.endswith(f".{pattern}")]
    alpha = float(matching[0] if matching else metadata.get(f"{component}.lora_alpha", rank))
    return alpha * rank**0.5 if metadata.get(f"{component}.use_rslora") else alpha


def _checked(change: LowRankChange, module: str, header: TensorHeader | None, name: str, label: str) -> LowRankChange:
    if header is None:
        raise MergingError(f"{label}: the base has no {name}: this LoRA is for another base")
    made = change.rows_and_columns
    if made != (header.shape[0], math.prod(header.shape[1:])):
        sizes = f"its matrices make {made[0]}×{made[1]}, the base's {name} is {list(header.shape)}"
        raise MergingError(f"{label}: module {module}: {sizes}: this LoRA is for another base")
    return change
