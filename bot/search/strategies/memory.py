"""The memory that candidates on paths need."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Pool
from merging.dtypes import CODES, element_bytes
from merging.kinds import KINDS
from merging.partition import is_within
from merging.paths.cost import model_cost
from merging.paths.folding import folding_rule
from merging.tensor_names import parse_name


def spare_bytes(pool: Pool, chosen: Iterable[str], dtype: str) -> int:
    """Bytes of the components that candidates take whole from other models and that stay in memory, at most.

    chosen: the names of the components whose source a gene chooses.
    """
    sizes = 0
    for component in chosen:
        own = (sum(_count(one, one.components[component])) for one in pool.sources if component in one.components)
        sizes += sum(sorted(own, reverse=True)[: KINDS[pool.kind].spare_components])
    return sizes * element_bytes(dtype)


def _count(member: Member, paths: tuple[str, ...]) -> Iterator[int]:
    """The number of weights of each tensor of a component."""
    return (math.prod(header.shape) for name, header in member.headers.items() if is_within(name, paths))


def deepest_path_bytes(pool: Pool, most_layers: int, dtype: str) -> int:
    """Bytes of a path's weights: layers grow in number, embeddings and head do not."""
    inside, beside = pool.prototype.divide(pool.merged_headers)
    shapes = {name: header.shape for name, header in inside.items()}
    # All layers have the same shapes, so it does not matter which are counted.
    layers = (number % pool.layers for number in range(most_layers))
    parameters = model_cost(shapes, pool.prototype.language, layers).parameters
    parameters += sum(math.prod(header.shape) for header in beside.values())
    return parameters * pool.model_bytes(dtype) // pool.parameters


def copied_bytes(pool: Pool, most_layers: int, dtype: str) -> int:
    """Bytes that the deepest path takes of its own, at most: the weights that carry a scale; it shares all others."""
    source = pool.prototype
    rule = folding_rule(source.language, source.repo)
    scaled = Counter[int | None]()
    inside, _ = source.divide(pool.merged_headers)
    for name, header in inside.items():
        if rule.of(name) is not None:
            scaled[parse_name(name).layer] += math.prod(header.shape)
    return most_layers * max(scaled.values(), default=0) * element_bytes(dtype)


def held_bytes(pool: Pool, laid_out: Sequence[Member], dtype: str, device: str) -> int:
    """Bytes of the sources that a worker keeps in memory of its own, to refer to their layers.

    A source on the CPU that is stored in the candidates' dtype needs none: it stays mapped. An adapter's sum does not.
    """
    own = (device != "cpu" or CODES[dtype] != one.dtype or one.adaptation is not None for one in laid_out)
    return pool.model_bytes(dtype) * sum(own)
