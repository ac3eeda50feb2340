"""Which tensor of which part each tensor of a path's result is, and what the result's config says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from merging.errors import MergingError
from merging.models.layer_config import check_layer_lists, is_tied, stacked_config
from merging.partition import parse_name, renumbered
from merging.paths.folding import Fold, folding_rule
from merging.recipes.path import PathRecipe


@dataclass(frozen=True)
class Taken:
    """Where a tensor of the result comes from: a part's tensor, and what its hop's stream scale makes of it."""

    part: int
    name: str
    fold: Fold | None
    stream: float


def lay_out(path: PathRecipe, names: Iterable[str], config: Mapping[str, Any]) -> dict[str, Taken]:
    """Each tensor of the result by name, what stands before the layers first, then the layers, then the rest.

    names: the tensors of a whole part, a tied weight once; all parts have the same.
    config: the parts' config.json. MergingError for a family whose scales cannot be folded, and for tied embeddings
    of which the two ends are to come from different parts.
    """
    rule = folding_rule(config, str(path.parts[0].origins[0]))
    by_layer = defaultdict[int | None, list[str]](list)
    for name in names:
        by_layer[parse_name(name).layer].append(name)
    before = [name for name in by_layer[None] if parse_name(name).is_embedding]
    behind = [name for name in by_layer[None] if not parse_name(name).is_embedding]
    if path.embedding != path.head and is_tied(config):
        raise MergingError(f"path.head: got part {path.head}: the embeddings are tied, so take {path.embedding}")
    found = {name: Taken(path.embedding, name, None, 1.0) for name in before}
    for number, (hop, stream) in enumerate(zip(path.hops, path.streams, strict=True)):
        for name in by_layer[hop.layer]:
            found[renumbered(name, number)] = Taken(hop.part, name, rule.of(name), stream)
    return found | {name: Taken(path.head, name, None, 1.0) for name in behind}


def path_config(path: PathRecipe, config: Mapping[str, Any]) -> dict[str, Any]:
    """The result's config.json: the parts', for so many layers, each of the kind that it was in its part."""
    label = str(path.parts[0].origins[0])
    return stacked_config(config, [[(config, hop.layer)] for hop in path.hops], label)


def check_rearrangeable(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], layers: int, label: str
) -> None:
    """Refuse, with the reason, a model whose layers cannot stand anywhere on a path.

    config: as config.json has it, or as transformers reads it. shapes: of its tensors, by name. label: what errors
    call it. MergingError for a family without a folding rule, layers of different makes, and lists of another length.
    """
    folding_rule(config, label)
    check_layer_lists(config, layers, label)
    makes = defaultdict[int, dict[str, tuple[int, ...]]](dict)
    for name, shape in shapes.items():
        if (layer := parse_name(name).layer) is not None:
            makes[layer][renumbered(name, 0)] = shape
    for layer in range(1, layers):
        if odd := sorted(makes[0].items() ^ makes[layer].items()):
            raise MergingError(
                f"{label}: {odd[0][0]} is not the same in layers 0 and {layer}: on a path a layer may stand anywhere, "
                "so all must be of one make; write search.space: parameter"
            )
