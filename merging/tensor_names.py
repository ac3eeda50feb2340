"""The names of tensors: a tensor's layer and module, read from its name, and the layers that names speak of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from merging.errors import MergingError

# Modules before the first layer in the common layouts; everything else outside the layers is the head.
EMBEDDING_NAMES = frozenset(
    {
        "embed_tokens",
        "embed_in",
        "word_embeddings",
        "word_embeddings_layernorm",
        "embeddings",
        "wte",
        "wpe",
        "tok_embeddings",
        "tokens_embed",
        "positions_embed",
        "position_embeddings",
        "embed_positions",
        "project_in",
    }
)

_SPECULATIVE = "mtp"
"""A module that predicts further tokens with layers of its own; transformers ignores it."""

LAYER_DIGITS = 6  # names are untrusted: a longer number is not that of a layer


@dataclass(frozen=True)
class Place:
    """The place of a tensor in its model, read from its name.

    layer: its number, None outside the layers. stack: the modules before that number ("model.layers", "transformer.h").
    component: the module after it ("self_attn", "mlp"). is_embedding: it is before the first layer.
    """

    layer: int | None
    stack: str
    component: str
    is_embedding: bool


@lru_cache(maxsize=1 << 16)
def parse_name(tensor_name: str) -> Place:
    """Read a tensor's place from its name: the first whole number between dots is the layer."""
    parts = tensor_name.split(".")
    for position, part in enumerate(parts[:-1]):
        if _is_layer(part):
            return Place(int(part), ".".join(parts[:position]), parts[position + 1], is_embedding=False)
    return Place(None, "", "", is_embedding=not EMBEDDING_NAMES.isdisjoint(parts))


def _is_layer(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= LAYER_DIGITS


def find_stack(tensor_name: str) -> str | None:
    """The stack of layers that a tensor is in; None outside of stacks.

    A numbered list of single weights is not a stack (Gemma 3n has some next to its layers), nor is `mtp`.
    """
    place = parse_name(tensor_name)
    is_weight = tensor_name == f"{place.stack}.{place.layer}.{place.component}".lstrip(".")
    return None if place.layer is None or is_weight or _SPECULATIVE in place.stack.split(".") else place.stack


def renumber(tensor_name: str, layer: int) -> str:
    """The name of the same tensor in another layer; a name outside the layers stays as it is."""
    if parse_name(tensor_name).layer is None:
        return tensor_name
    parts = tensor_name.split(".")
    position = next(index for index, part in enumerate(parts) if _is_layer(part))
    parts[position] = str(layer)
    return ".".join(parts)


def count_layers(tensor_names: Iterable[str], stack: str | None = None) -> int:
    """Number of layers of a stack (`model.layers`), of the only one by default.

    Raises:
        MergingError: a gap in the layers' numbers, or several stacks and none is named.
    """
    found: dict[str, set[int]] = {}
    for name in tensor_names:
        own, layer = find_stack(name), parse_name(name).layer
        if own is not None and layer is not None:
            found.setdefault(own, set()).add(layer)
    if stack is None and len(found) > 1:
        raise MergingError(f"layers are numbered in several stacks ({', '.join(sorted(found))}): name one of them")
    seen = found.get(stack, set()) if stack is not None else set().union(*found.values())
    if missing := set(range(len(seen))) - seen:
        raise MergingError(f"layer {min(missing)} has no tensor, yet a later layer has: this is not a whole model")
    return len(seen)
