"""The layout of a path's result: the origin of each of its tensors, and its config."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from merging.errors import MergingError
from merging.kinds.kind import NO_COMPONENTS, Components
from merging.models.components import language_names
from merging.models.layer_config import check_layer_lists, is_tied, read_language_config, stack_config
from merging.models.settings import language_settings
from merging.paths.folding import Fold, folding_rule
from merging.recipes.path import PathRecipe
from merging.tensor_names import count_layers, parse_name, renumber


@dataclass(frozen=True)
class Taken:
    """The origin of a tensor of the result: a part's tensor, and the fold of its hop's stream scale."""

    part: int
    name: str
    fold: Fold | None
    stream: float


def lay_out(
    path: PathRecipe, names: Iterable[str], config: Mapping[str, Any], components: Components = NO_COMPONENTS
) -> dict[str, Taken]:
    """Map each tensor of the result to its origin: those before the layers first, then the layers, then the rest.

    The layers are those of the language model; a vision tower and a projector are those of the part that gives the
    embeddings, among which their features are put.

    names: the tensors of a whole part, a tied weight once; all parts have the same.
    config: the parts' config.json. components: those of a model that is more than a language model.

    Raises:
        MergingError: a family whose scales cannot be folded, several stacks of layers, or a head and an embedding of
            different parts although they are tied.
    """
    every = tuple(names)
    names = language_names(every, components)
    count_layers(names)  # one stack of layers, or the numbers of hops would mean nothing
    label = str(path.parts[0].origins[0])
    rule = folding_rule(read_language_config(config, label) or config, label)
    by_layer = defaultdict[int | None, list[str]](list)
    for name in names:
        by_layer[parse_name(name).layer].append(name)
    before = [name for name in by_layer[None] if parse_name(name).is_embedding]
    after = [name for name in by_layer[None] if not parse_name(name).is_embedding]
    if path.embedding != path.head and is_tied(config):
        raise MergingError(f"path.head: got part {path.head}: the embeddings are tied, so take {path.embedding}")
    around = sorted(set(every) - set(names))
    found = {name: Taken(path.embedding, name, None, 1.0) for name in (*around, *before)}
    for number, (hop, stream) in enumerate(zip(path.hops, path.streams, strict=True)):
        for name in by_layer[hop.layer]:
            found[renumber(name, number)] = Taken(hop.part, name, rule.of(name), stream)
    return found | {name: Taken(path.head, name, None, 1.0) for name in after}


def path_config(path: PathRecipe, config: Mapping[str, Any]) -> dict[str, Any]:
    """The result's config.json: the parts' own, with settings by layer taken from each hop's layer."""
    label = str(path.parts[0].origins[0])
    return stack_config(config, [[(config, hop.layer)] for hop in path.hops], label)


def check_rearrangeable(
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    layers: int,
    label: str,
    components: Components = NO_COMPONENTS,
) -> None:
    """Refuse, with the reason, a model whose layers cannot be put anywhere on a path.

    config: the content of config.json, or the same as `read_settings` gives it. shapes: shapes of its tensors, by
    name. label: the model's name in errors. components: those of a model that is more than a language model.
    MergingError for a family without a folding rule, layers with different tensors, and lists of another length.
    """
    inside = language_settings(config)
    folding_rule(inside, label)
    check_layer_lists(inside, layers, label)
    makes = defaultdict[int, dict[str, tuple[int, ...]]](dict)
    for name in language_names(shapes, components):
        shape = shapes[name]
        if (layer := parse_name(name).layer) is not None:
            makes[layer][renumber(name, 0)] = shape
    for layer in range(1, layers):
        if odd := sorted(makes[0].items() ^ makes[layer].items()):
            raise MergingError(
                f"{label}: {odd[0][0]} is not the same in layers 0 and {layer}: a path may have a layer anywhere, "
                "so all must be alike; write search.space: parameter"
            )
