"""The plan of an adapter: the change of each of its base's tensors, from headers and settings alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from merging.dtypes import NAMES
from merging.errors import MergingError
from merging.sources.adapter_config import AdapterConfig, read_adapter_config
from merging.sources.family import TensorHeader
from merging.tensor_names import parse_name

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
    """The product s·B·A that is added to a weight.

    down: key of A in the file, shape (rank, in). up: key of B, shape (out, rank). scaling: s.
    transposed: whether the weight is stored as (in, out), as embeddings and GPT-2's layers are.
    magnitude: key of DoRA's vector with a value for each output, or None.
    """

    down: str
    up: str
    scaling: float
    transposed: bool
    magnitude: str | None


@dataclass(frozen=True)
class Change:
    """The change of one tensor of the base: it may be replaced, then a product or a vector (key, scaling) is added."""

    replacement: str | None = None
    product: Product | None = None
    shift: tuple[str, float] | None = None


@dataclass(frozen=True)
class Adapter:
    """The changes of an adapter.

    changes: tensor name in the base → change.
    tied: key of a tensor that the base does not store because it is tied → key of the other one; both must be equal.
    """

    changes: Mapping[str, Change]
    tied: Mapping[str, str]


def plan_adapter(
    label: str, config: Mapping[str, object], headers: Mapping[str, TensorHeader], base: Mapping[str, TensorHeader]
) -> Adapter:
    """Plan the changes of the base's tensors.

    label: name of the adapter in errors. config: its parsed adapter_config.json. headers: the headers of its
    adapter_model.safetensors. base: the headers of the model that it changes. MergingError names the first setting
    or tensor that does not fit.
    """
    settings = read_adapter_config(label, config)
    modules, whole = _sort_tensors(label, headers)
    for module, parts in modules.items():
        if _stored_name(f"{module}.weight", base) is None:
            raise MergingError(f"{label}: {_no_weight_of_its_own(module, parts, base)}")
    replaced, tied = _replacements(label, whole, base)
    changes = {name: Change(replacement=key) for name, key in replaced.items()}
    for module, parts in modules.items():
        weight, product = _product(settings, module, parts, base)
        changes[weight] = Change(replaced.get(weight), product)
        if _BIAS in parts:
            bias = _match_base(label, parts[_BIAS], f"{module}.bias", base)
            changes[bias] = Change(replaced.get(bias), shift=(parts[_BIAS].name, product.scaling))
    _check_complete(settings, modules, whole, base)
    return Adapter(changes, _checked_tied(label, tied, changes))


def base_tensor(key: str) -> str:
    """The name of the base's tensor that a tensor of an adapter belongs to, as the adapter has it."""
    name = key.removeprefix(_PREFIX)
    found = _PART.fullmatch(name)
    return f"{found['module']}.weight" if found else name.replace(".base_layer.", ".")


def _sort_tensors(
    label: str, headers: Mapping[str, TensorHeader]
) -> tuple[dict[str, dict[str, TensorHeader]], dict[str, TensorHeader]]:
    """(module → part → header of LoRA's tensors, name in the model → header of the tensors that replace whole ones)."""
    modules: dict[str, dict[str, TensorHeader]] = {}
    whole = {}
    for key, header in sorted(headers.items()):
        name = key.removeprefix(_PREFIX)
        if header.dtype not in NAMES:
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
    """(name in the base → key of its replacement, key of a head that the base does not store → key of the embeddings).

    A base without a head ties it to its embeddings.
    """
    found: dict[str, str] = {}
    heads = []
    for name, header in whole.items():
        if _stored_name(name, base) is None and parse_name(name).layer is None:
            heads.append(header)
        else:
            found[_match_base(label, header, name, base)] = header.name
    embeddings = {base[own].shape: key for own, key in found.items() if parse_name(own).is_embedding}
    for header in heads:
        if header.shape not in embeddings:
            why = "replaces a head that the base ties to its embeddings, without embeddings of its own"
            if not any(parse_name(own).is_embedding and base[own].shape == header.shape for own in base):
                why = "has no counterpart in the base"
            raise MergingError(f"{label}: tensor {header.name} {why}: name the base that it was trained on")
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
    """The base's weight that a module's two matrices change, and the change."""
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
    assert weight is not None  # plan_adapter has refused the others
    down, up = (parts[name] for name in names)
    _check_rank(config, module, down, up)
    transposed = _is_transposed(weight, base) if names == _LINEAR else True
    sizes = (up.shape[0], down.shape[1])
    made = sizes[::-1] if transposed else sizes
    _check_rows(label, up.name, made, weight, base)
    if base[weight].shape != made:
        shapes = f"its matrices make {sizes[0]}×{sizes[1]}, the base's {weight} is {list(base[weight].shape)}"
        raise MergingError(f"{label}: module {module}: {shapes}: this adapter is for another base")
    magnitude = parts.get(_MAGNITUDE)
    if magnitude is not None and math.prod(magnitude.shape) != sizes[0]:
        raise MergingError(f"{label}: tensor {magnitude.name} is {list(magnitude.shape)}, not [{sizes[0]}]")
    product = Product(down.name, up.name, config.scaling_of(module), transposed, magnitude.name if magnitude else None)
    return weight, product


def _no_weight_of_its_own(module: str, parts: Mapping[str, TensorHeader], base: Mapping[str, TensorHeader]) -> str:
    """The reason why the base lacks a module's weight: it may be a head that is tied to the embeddings."""
    up, down = (parts.get(name) for name in reversed(_LINEAR))
    sizes = (up.shape[0], down.shape[-1]) if up and down and up.shape and down.shape else None
    embeddings = [own for own, header in base.items() if header.shape == sizes and parse_name(own).is_embedding]
    if embeddings and parse_name(f"{module}.weight").layer is None:
        why = f"the base has no {module}.weight of its own, it ties it to {embeddings[0]}, which LoRA would change too"
        return f"{why}; save the base with tie_word_embeddings: false and a head of its own, and name that"
    return f"the base has no {module}.weight: this adapter is for another base"


def _check_rank(config: AdapterConfig, module: str, down: TensorHeader, up: TensorHeader) -> None:
    rank = config.rank_of(module)
    for header, side in ((down, 0), (up, 1)):
        if len(header.shape) != 2 or header.shape[side] != rank:
            shape = list(header.shape)
            raise MergingError(
                f"{config.label}: tensor {header.name} is {shape}, not of rank {rank} as the config says"
            )


def _is_transposed(weight: str, base: Mapping[str, TensorHeader]) -> bool:
    """Whether the base stores its layers' weights as (in, out).

    A square weight's shape does not show it, and peft does not follow the adapter's own setting either. But GPT-2's
    layers all have a bias, whose length is that of the output.
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
    """MergingError unless every module of the layers that the config names has its weights in the file.

    A head or embeddings without weights stay as they are, as in peft.
    """
    stored = {_stored_name(f"{module}.weight", base): module for module in modules}
    prefix = next((module.removesuffix((own or "").removesuffix(".weight")) for own, module in stored.items()), "")
    for name, header in base.items():
        module = f"{prefix}{name.removesuffix('.weight')}"
        in_layers = parse_name(name).layer is not None
        if in_layers and len(header.shape) == 2 and name not in stored and config.targets_module(module):
            raise MergingError(f"{config.label}: module {module} has no LoRA weights, yet target_modules names it")
    for saved in config.saved:
        if not any(config.matcher.match(rf"(^|.*\.){saved}\.", name) for name in whole):
            raise MergingError(f"{config.label}: modules_to_save: got {saved!r}: the file has no weights of it")


def _stored_name(name: str, base: Mapping[str, TensorHeader]) -> str | None:
    """A tensor's name in the base; one saved without its head lacks the "model." or "transformer." in front."""
    return next((own for own in (name, name.partition(".")[2]) if own in base), None)


def _match_base(label: str, header: TensorHeader, name: str, base: Mapping[str, TensorHeader]) -> str:
    """The name of the base's tensor that is replaced or changed; MergingError if there is none of the same shape."""
    own = _stored_name(name, base)
    if own is None:
        raise MergingError(f"{label}: tensor {header.name}: the base has no {name}: this adapter is for another base")
    if base[own].shape != header.shape:
        _check_rows(label, header.name, header.shape, own, base)
        shapes = f"is {list(header.shape)}, the base's {own} {list(base[own].shape)}"
        raise MergingError(f"{label}: tensor {header.name} {shapes}: this adapter is for another base")
    return own


def _check_rows(label: str, key: str, shape: tuple[int, ...], own: str, base: Mapping[str, TensorHeader]) -> None:
    """MergingError for embeddings or a head with more rows than the base's: they belong to tokens that were added."""
    rows = base[own].shape[0]
    if parse_name(own).layer is None and len(shape) == 2 and shape[0] > rows and shape[1:] == base[own].shape[1:]:
        why = f"{shape[0] - rows} more rows than the base's {own}, for tokens that were added in training"
        remedy = "add them to the base with `resize_token_embeddings`, merge the adapter with peft, and name the result"
        raise MergingError(f"{label}: tensor {key}: it has {why}: {remedy}")
