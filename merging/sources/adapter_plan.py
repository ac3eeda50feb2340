"""What an adapter does to each of its base's tensors, decided from headers and settings before a weight is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from merging.errors import MergingError
from merging.partition import parse_name
from merging.sources.adapter_config import AdapterConfig, read_adapter_config
from merging.sources.family import MERGEABLE_DTYPES, TensorHeader

_PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_[AB]\.weight|lora_B\.bias|lora_embedding_[AB]|lora_magnitude_vector)"
)
_LINEAR = ("lora_A.weight", "lora_B.weight")
_EMBEDDING = ("lora_embedding_A", "lora_embedding_B")
_MAGNITUDE, _BIAS = "lora_magnitude_vector", "lora_B.bias"
_MARK = "lora_"


@dataclass(frozen=True)
class Product:
    """s·B·A on a weight. down: the file's key of A, (rank, in). up: that of B, (out, rank).

    transposed: the weight is stored as (in, out), as embeddings and GPT-2's layers are. magnitude: the key of
    DoRA's vector, a value for each output.
    """

    down: str
    up: str
    scaling: float
    transposed: bool
    magnitude: str | None


@dataclass(frozen=True)
class Change:
    """What happens to one tensor of the base: it may be replaced, then get a product, or a vector (key, scaling)."""

    replacement: str | None = None
    product: Product | None = None
    shift: tuple[str, float] | None = None


@dataclass(frozen=True)
class Adapter:
    """changes: by the base's tensor name.

    twins: key of a tensor that the base has only tied to another → key of that other; they must hold the same.
    """

    changes: Mapping[str, Change]
    tied: Mapping[str, str]


def plan_adapter(
    label: str, config: Mapping[str, Any], headers: Mapping[str, TensorHeader], base: Mapping[str, TensorHeader]
) -> Adapter:
    """What an adapter does to its base's tensors.

    label: what errors call the adapter. config: its parsed adapter_config.json. headers: of its
    adapter_model.safetensors. base: the headers of the model that it goes on top of. MergingError names the first
    setting or tensor that does not fit.
    """
    settings = read_adapter_config(label, config)
    modules, whole = _sorted_out(label, headers)
    replaced, tied = _replacements(label, whole, base)
    changes = {name: Change(replacement=key) for name, key in replaced.items()}
    for module, parts in modules.items():
        weight, product = _product(settings, module, parts, base)
        changes[weight] = Change(replaced.get(weight), product)
        if _BIAS in parts:
            bias = _of_base(label, parts[_BIAS], f"{module}.bias", base)
            changes[bias] = Change(replaced.get(bias), shift=(parts[_BIAS].name, product.scaling))
    _check_complete(settings, modules, whole, base)
    return Adapter(changes, _checked_tied(label, tied, changes))


def _sorted_out(
    label: str, headers: Mapping[str, TensorHeader]
) -> tuple[dict[str, dict[str, TensorHeader]], dict[str, TensorHeader]]:
    """LoRA's tensors as module → part → header, and whole tensors of the model, by the names that these have there."""
    modules: dict[str, dict[str, TensorHeader]] = {}
    whole = {}
    for key, header in sorted(headers.items()):
        name = key.removeprefix(_PREFIX)
        if header.dtype not in MERGEABLE_DTYPES:
            raise MergingError(f"{label}: tensor {key} is of dtype {header.dtype}, which cannot be merged")
        if found := _PART.fullmatch(name):
            modules.setdefault(found["module"], {})[found["part"]] = header
        elif name == key or _MARK in name:
            raise MergingError(f"{label}: tensor {key} is none that plain LoRA has")
        else:
            whole[name.replace(".base_layer.", ".")] = header
    return modules, whole


def _replacements(
    label: str, whole: Mapping[str, TensorHeader], base: Mapping[str, TensorHeader]
) -> tuple[dict[str, str], dict[str, str]]:
    """The base's name → the key of what stands for it; and the key of a head that the base does not store → the key
    of the embeddings, to which the base ties its own."""
    found: dict[str, str] = {}
    heads = []
    for name, header in whole.items():
        if _stored_name(name, base) is None and parse_name(name).layer is None:
            heads.append(header)
        else:
            found[_of_base(label, header, name, base)] = header.name
    embeddings = {base[own].shape: key for own, key in found.items() if parse_name(own).is_embedding}
    for header in heads:
        if header.shape not in embeddings:
            raise MergingError(f"{label}: tensor {header.name} has no counterpart in the base")
    return found, {header.name: embeddings[header.shape] for header in heads}


def _checked_tied(label: str, tied: Mapping[str, str], changes: Mapping[str, Change]) -> Mapping[str, str]:
    adapted = {change.replacement for change in changes.values() if change.product}
    for key, other in tied.items():
        if other in adapted:
            raise MergingError(f"{label}: tensor {key} stays, {other} changes, yet the base ties both: untie the base")
    return tied


def _product(
    config: AdapterConfig, module: str, parts: Mapping[str, TensorHeader], base: Mapping[str, TensorHeader]
) -> tuple[str, Product]:
    """The base's weight that a module's two matrices change, and how."""
    label = config.label
    if config.targets_module(module) is False:
        raise MergingError(f"{label}: module {module} has LoRA weights, yet target_modules leaves it out")
    names = _EMBEDDING if _EMBEDDING[0] in parts else _LINEAR
    wanted = {*names, *([_MAGNITUDE] if config.dora else [])}
    if wanted != parts.keys() - {_BIAS}:
        odd = min(wanted ^ (parts.keys() - {_BIAS}))
        state = "lacks" if odd in wanted else "must not have"
        raise MergingError(f"{label}: module {module} {state} {odd}")
    weight = _stored_name(f"{module}.weight", base)
    if weight is None:
        raise MergingError(f"{label}: the base has no {module}.weight of its own: this adapter is for another base")
    down, up = (parts[name] for name in names)
    _check_rank(config, module, down, up)
    transposed = _is_transposed(weight, base) if names == _LINEAR else True
    sizes = (up.shape[0], down.shape[1])
    if base[weight].shape != (sizes[::-1] if transposed else sizes):
        shapes = f"its matrices make {sizes[0]}×{sizes[1]}, the base's {weight} is {list(base[weight].shape)}"
        raise MergingError(f"{label}: module {module}: {shapes}: this adapter is for another base")
    magnitude = parts.get(_MAGNITUDE)
    if magnitude is not None and math.prod(magnitude.shape) != sizes[0]:
        raise MergingError(f"{label}: tensor {magnitude.name} is {list(magnitude.shape)}, not [{sizes[0]}]")
    product = Product(down.name, up.name, config.scaling_of(module), transposed, magnitude.name if magnitude else None)
    return weight, product


def _check_rank(config: AdapterConfig, module: str, down: TensorHeader, up: TensorHeader) -> None:
    rank = config.rank_of(module)
    for header, side in ((down, 0), (up, 1)):
        if len(header.shape) != 2 or header.shape[side] != rank:
            shape = list(header.shape)
            raise MergingError(
                f"{config.label}: tensor {header.name} is {shape}, not of rank {rank} as the config says"
            )


def _is_transposed(weight: str, base: Mapping[str, TensorHeader]) -> bool:
    """Whether a layer's weight is stored as (in, out); what the adapter says of it peft does not follow either.

    A square weight's shape does not tell. GPT-2's layers all have a bias, whose length is that of the output.
    """
    if parse_name(weight).layer is None:
        return False
    for name, header in base.items():
        bias = base.get(name.removesuffix(".weight") + ".bias")
        if len(header.shape) == 2 and bias is not None and parse_name(name).layer is not None:
            rows, columns = header.shape
            if rows != columns and bias.shape in ((rows,), (columns,)):
                return bias.shape == (columns,)
    return False


def _check_complete(
    config: AdapterConfig,
    modules: Mapping[str, object],
    whole: Mapping[str, TensorHeader],
    base: Mapping[str, TensorHeader],
) -> None:
    """Every module that the config names must have its weights in the file."""
    stored = {_stored_name(f"{module}.weight", base): module for module in modules}
    prefix = next((module.removesuffix((own or "").removesuffix(".weight")) for own, module in stored.items()), "")
    for name, header in base.items():
        module = f"{prefix}{name.removesuffix('.weight')}"
        if len(header.shape) == 2 and name not in stored and config.targets_module(module):
            raise MergingError(f"{config.label}: module {module} has no LoRA weights, yet target_modules names it")
    for saved in config.saved:
        if not any(re.match(rf"(^|.*\.){saved}\.", name) for name in whole):
            raise MergingError(f"{config.label}: modules_to_save: got {saved!r}: the file has no weights of it")


def _stored_name(name: str, base: Mapping[str, TensorHeader]) -> str | None:
    """The base's name for a tensor; a base saved without its head has no "model." or "transformer." in front."""
    return next((own for own in (name, name.partition(".")[2]) if own in base), None)


def _of_base(label: str, header: TensorHeader, name: str, base: Mapping[str, TensorHeader]) -> str:
    """The base's tensor that one of the same shape stands for, or is added to."""
    own = _stored_name(name, base)
    if own is None:
        raise MergingError(f"{label}: tensor {header.name}: the base has no {name}: this adapter is for another base")
    if base[own].shape != header.shape:
        shapes = f"is {list(header.shape)}, the base's {own} {list(base[own].shape)}"
        raise MergingError(f"{label}: tensor {header.name} {shapes}: this adapter is for another base")
    return own
