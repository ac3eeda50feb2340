"""What a layer computes besides its weights, by its number: a layer that is moved must not become another one.

Most families build all layers alike, or by a list in the config that moves along with the layers. Some derive a number
from a layer's place (GPT-2's scale by inverse layer, DiffLlama's lambda), which moves with nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from merging.tensor_names import parse_name, renumber

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Trait = bool | int | float | str
Traits = Mapping[str, Mapping[int, Trait]]
"""Attribute of a module, named as in layer 0 → layer → value."""

_NUMBERS = frozenset({"layer_idx", "layer_id", "layer_index", "layer_num", "layer_number", "block_idx", "depth_idx"})
"""Attributes that hold the layer's number itself, with which caches are addressed."""
_NOT_COMPUTED = frozenset({"training", "gradient_checkpointing"})

BY_NUMBER: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("gemma3n", "gemma3n_text"), "each layer has its own part of embed_tokens_per_layer"),
        **dict.fromkeys(("gemma4", "gemma4_text"), "layers share keys and embeddings by their numbers"),
        **dict.fromkeys(("gemma4_unified", "gemma4_unified_text"), "layers share keys by their numbers"),
        "mllama_text_model": "some layers, by their numbers, read pictures instead of text (cross-attention)",
        **dict.fromkeys(
            ("qwen3_vl_text", "qwen3_vl_moe_text"),
            "pictures are added to its first layers by their numbers (deepstack)",
        ),
        "minimax": "the decay of its linear attention follows from the layer's number",
        "rwkv": "it rescales the layers' outputs by their numbers",
        **dict.fromkeys(("zamba", "zamba2"), "layers share a block by their numbers"),
    }
)
"""model_type of families whose model, and not its layers, reads the layers' numbers → how."""


def read_traits(model: PreTrainedModel) -> Traits:
    """The plain values that the modules of each layer hold, and their classes."""
    found: dict[str, dict[int, Trait]] = {}
    for name, module in model.named_modules():
        layer = parse_name(f"{name}.weight").layer
        for attribute, value in _plain_values(module) if layer is not None else ():
            found.setdefault(renumber(f"{name}.{attribute}", 0), {})[int(layer or 0)] = value
    return found


def _plain_values(module: object) -> Iterator[tuple[str, Trait]]:
    yield "class", type(module).__name__
    for attribute, value in vars(module).items():
        hidden = attribute.startswith("_") or attribute in _NUMBERS or attribute in _NOT_COMPUTED
        if isinstance(value, Trait) and not hidden:
            yield attribute, value


def moved_layer_fault(
    kind: str, model: Traits, taken: int, result: Traits, number: int, *, same_settings: bool
) -> str | None:
    """The reason why a model's layer `taken` would compute something else as the result's layer `number`, or None.

    kind: model_type. same_settings: whether the result has this model's settings; otherwise values that are the same in
    all layers may differ, as settings do.
    """
    if taken != number and kind in BY_NUMBER:
        return f"{BY_NUMBER[kind]} ({kind})"
    for key in sorted(model.keys() & result.keys()):
        before, after = model[key].get(taken), result[key].get(number)
        moves = same_settings or len({*model[key].values()}) > 1 or len({*result[key].values()}) > 1
        if moves and before != after and None not in (before, after):
            return f"its {renumber(key, taken)} is {_short(before)} there and would be {_short(after)} here"
    return None


def _short(value: Trait | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]
