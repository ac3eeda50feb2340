"""The config.json of a model made of others' layers: their number, and every setting that goes by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from merging.errors import MergingError
from merging.models.transformers_cache import cached_on_disk

_LAYERS = "num_hidden_layers"
_KINDS = frozenset({"layer_types", "layers_block_type", "attention_layers"})
"""What lists of layers' kinds are called, also where a family does not fill them in by itself."""
_DEPTHS = (5, 7)

LayerOrigin = tuple[Mapping[str, Any], int]
"""A layer as (the config of its model, its number there)."""


@cached_on_disk(int, int)
def layer_total(config: Mapping[str, Any], label: str) -> int:
    """The number of layers that a config says, whatever its family calls it. label: what errors call the config."""
    return int(getattr(load_config(config, label), _LAYERS))


def stacked_config(
    config_source: Mapping[str, Any], origins: Sequence[Sequence[LayerOrigin]], label: str
) -> dict[str, Any]:
    """The donor's config for a model of these layers, in their order.

    origins: for each layer of the result the layers that are merged into it, the leading one first.
    MergingError where layers of different kinds (layer_types and the like) would be merged into one.
    """
    leading = [merged[0] for merged in origins]
    # Read once each: a deep path takes its layers from few configs.
    distinct = {id(config): config for config, _ in leading}
    read = {key: layer_lists(config, label) for key, config in distinct.items()}
    settings = [read[id(config)] for config, _ in leading]
    names = sorted(set.intersection(*(set(found) for found in settings)))
    wanted = {name: [found[name][layer] for found, (_, layer) in zip(settings, leading, strict=True)] for name in names}
    for place, merged in enumerate(origins):
        _check_alike(place, merged, label)
    keys = _layer_keys(config_source, label)
    changed = dict(config_source) | dict.fromkeys(keys, len(origins))
    written = {name: values for name, values in wanted.items() if name in config_source}
    computed = layer_lists({key: value for key, value in changed.items() if key not in written} | written, label)
    return changed | {
        name: values for name, values in wanted.items() if name in config_source or computed.get(name) != values
    }


def check_layer_lists(config: Mapping[str, Any], layers: int, label: str) -> None:
    """MergingError, by the setting's name, where a list that goes by layer is not as long as the model is deep."""
    for name in sorted(_follow_depth(str(config.get("model_type")))):
        given = config.get(name)
        if isinstance(given, list | tuple) and len(given) != layers:
            raise MergingError(f"{label}: {name} has {len(given)} entries for {layers} layers: mend its config.json")


def _check_alike(place: int, merged: Sequence[LayerOrigin], label: str) -> None:
    (first, layer), *others = merged
    settings = layer_lists(first, label) if others else {}
    for config, number in others:
        found = layer_lists(config, label)
        for name in settings.keys() & found.keys():
            one, other = settings[name][layer], found[name][number]
            if one != other:
                raise MergingError(
                    f"layer {place}: {name} is {one!r} in one model and {other!r} in another: choose layers of one kind"
                )


@cached_on_disk(list, list)
def _layer_keys(config: Mapping[str, Any], label: str) -> list[str]:
    """What this config calls the number of its layers."""
    names = {_LAYERS, type(load_config(config, label)).attribute_map.get(_LAYERS, _LAYERS)}
    return sorted(names & config.keys()) or [max(names - {_LAYERS}, default=_LAYERS)]


@cached_on_disk(dict, dict)
def layer_lists(config: Mapping[str, Any], label: str) -> dict[str, list[Any]]:
    """The settings that have a value for each layer, given or computed from others by transformers."""
    read = load_config(config, label)
    depth = getattr(read, _LAYERS)
    named = _follow_depth(read.model_type) | _KINDS
    # Other lists may happen to be as long as the model is deep, such as those of tokens or of two limits.
    return {
        name: list(value)
        for name, value in read.to_dict().items()
        if name in named and isinstance(value, list | tuple) and len(value) == depth
    }


@lru_cache(maxsize=256)
def _follow_depth(kind: str) -> frozenset[str]:
    """The lists of a family that transformers makes as long as the model is deep; none if it cannot be asked."""
    found = []
    for depth in _DEPTHS:
        try:
            values = load_config({"model_type": kind, _LAYERS: depth}, kind).to_dict()
        except MergingError:  # a family that does not exist at every depth
            return frozenset()
        lists = {name: list(value) for name, value in values.items() if isinstance(value, list | tuple)}
        # A list that only counts is one of layers' numbers, and not of what they are like.
        found.append({name for name, value in lists.items() if len(value) == depth and value != list(range(depth))})
    return frozenset(set.intersection(*found))


def load_config(config: Mapping[str, Any], label: str) -> Any:
    """A config.json as transformers reads it; MergingError if it cannot. label: what errors call it."""
    from transformers import AutoConfig

    kind = config.get("model_type")
    values = {key: _decoded(value) for key, value in config.items() if key != "model_type"}
    try:
        return AutoConfig.for_model(kind, **values)
    except Exception as error:  # a stranger's values in other people's constructors: nearly anything is raised
        reason = " ".join(str(error).split())[:200]
        raise MergingError(f"{label}: transformers cannot read this config ({reason})") from error


def is_tied(config: Mapping[str, Any]) -> bool:
    """Whether the input embeddings of a model with this config.json are its head as well."""
    return _tie_word_embeddings(config, "config.json")


@cached_on_disk(bool, bool)
def _tie_word_embeddings(config: Mapping[str, Any], label: str) -> bool:
    return bool(getattr(load_config(config, label), "tie_word_embeddings", False))


def _decoded(value: Any) -> Any:
    """A value of config.json, with the numbers that JSON cannot write: transformers has {"__float__": "Infinity"}."""
    if isinstance(value, Mapping):
        return (
            float(value["__float__"]) if value.keys() == {"__float__"} else {k: _decoded(v) for k, v in value.items()}
        )
    return [_decoded(entry) for entry in value] if isinstance(value, list) else value
