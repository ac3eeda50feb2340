"""Which tensors of a checkpoint share a gene, decided from tensor names alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from merging.errors import MergingError

ATTENTION_NAMES = ("self_attn", "attn", "attention", "self_attention")
# What stands before the first block in the common layouts; everything else outside the blocks is the head.
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

_LAYER_DIGITS = 6  # a name comes from a source: a longer number is none of a layer


@dataclass(frozen=True)
class Place:
    """Where a tensor stands, read from its name.

    layer: its number, None outside the blocks. stack: the component before that number ("layers", "h").
    component: the one after it ("self_attn", "mlp"). is_embedding: stands before the first block.
    """

    layer: int | None
    stack: str
    component: str
    is_embedding: bool


@lru_cache(maxsize=1 << 16)
def parse_name(tensor_name: str) -> Place:
    """Read a tensor's place from its name: the first whole-number component is the layer."""
    parts = tensor_name.split(".")
    for position, part in enumerate(parts[:-1]):
        if _is_layer(part):
            stack = parts[position - 1] if position else ""
            return Place(int(part), stack, parts[position + 1], is_embedding=False)
    return Place(None, "", "", is_embedding=not EMBEDDING_NAMES.isdisjoint(parts))


def _is_layer(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= _LAYER_DIGITS


def renumbered(tensor_name: str, layer: int) -> str:
    """The name of the same tensor in another layer; a name outside the layers stays as it is."""
    if parse_name(tensor_name).layer is None:
        return tensor_name
    parts = tensor_name.split(".")
    position = next(index for index, part in enumerate(parts) if _is_layer(part))
    parts[position] = str(layer)
    return ".".join(parts)


def layer_count(tensor_names: Iterable[str]) -> int:
    """Number of layers that these names speak of; a gap in their numbers raises MergingError."""
    seen = {parse_name(name).layer for name in tensor_names} - {None}
    if seen != set(range(len(seen))):
        missing = min(set(range(len(seen))).difference(seen))
        raise MergingError(f"layer {missing} has no tensor, yet a later layer has: this is not a whole model")
    return len(seen)


@dataclass(frozen=True)
class Partition:
    """A partition of a model's tensors, one gene per group and source.

    layers: number of layers of the architecture.
    bands: contiguous half-open layer ranges that together cover 0..layers.
    modules_apart: attention and the rest of a block have separate groups.
    ends_apart: the embeddings and the head (with the final norm) have groups of their own; otherwise the
        embeddings go with the rest of the first band, and the head with the rest of the last.
    attention: names, directly under a layer, of what counts as attention.
    """

    layers: int
    bands: tuple[tuple[int, int], ...]
    modules_apart: bool
    ends_apart: bool
    attention: tuple[str, ...] = ATTENTION_NAMES

    def __post_init__(self) -> None:
        edges = [0, *(end for _, end in self.bands)]
        starts = [start for start, _ in self.bands]
        follow = starts == edges[:-1] and edges[-1] == self.layers
        if not self.bands or not follow or any(end <= start for start, end in self.bands):
            raise MergingError(
                f"groups.bands: got {self.bands} for {self.layers} layers: bands must follow each other, "
                f"from 0 to {self.layers}, none empty"
            )

    @classmethod
    def even(cls, layers: int, bands: int, modules_apart: bool, ends_apart: bool) -> Partition:
        """Split the layers into `bands` ranges whose lengths differ by at most one."""
        if not 1 <= bands <= layers:
            raise MergingError(f"groups: got {bands} bands for {layers} layers: give between 1 and {layers}")
        edges = [layers * band // bands for band in range(bands + 1)]
        return cls(layers, tuple(pairwise(edges)), modules_apart, ends_apart)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A name for each group, in gene order, such as "embed", "layers 0-3 attention", "head"."""
        kinds = (" attention", " rest") if self.modules_apart else ("",)
        blocks = [f"layers {start}-{end - 1}{kind}" for start, end in self.bands for kind in kinds]
        return ("embed", *blocks, "head") if self.ends_apart else tuple(blocks)

    def of(self, tensor_name: str) -> int:
        """Index of the group that a tensor belongs to; a layer out of range raises MergingError."""
        place = parse_name(tensor_name)
        if place.layer is None:
            return self._of_end(place.is_embedding)
        if place.layer >= self.layers:
            raise MergingError(f"tensor {tensor_name}: layer {place.layer} in groups of {self.layers} layers")
        band = next(index for index, (_, end) in enumerate(self.bands) if place.layer < end)
        return self.of_block(band, attention=place.component in self.attention)

    def of_block(self, band: int, *, attention: bool) -> int:
        """Index of the group of a band's attention, or of the rest of its blocks."""
        first = int(self.ends_apart)
        if not self.modules_apart:
            return first + band
        return first + 2 * band + int(not attention)

    def _of_end(self, is_embedding: bool) -> int:
        if self.ends_apart:
            return 0 if is_embedding else len(self.labels) - 1
        return self.of_block(0 if is_embedding else len(self.bands) - 1, attention=False)
