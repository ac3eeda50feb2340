"""The config.json of a model made of other models' layers: the number of layers, and every setting per layer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from merging.errors import MergingError
from merging.models.transformers_cache import cached_on_disk

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_LAYERS = "num_hidden_layers"
_KINDS = frozenset({"layer_types", "layers_block_type", "attention_layers"})
"""Names of lists of layers' kinds; a family need not fill them in by itself."""
_DEPTHS = (5, 7)  # two, because a list may be as long as the model is deep by chance

LayerOrigin = tuple[Mapping[str, object], int]
"""A layer as (the config of its model, its number there)."""


@cached_on_disk(int, int)
def read_depth(config: Mapping[str, object], label: str) -> int:
    """The number of layers in a config, whatever its family calls it. label: name of the config in errors."""
    found = getattr(load_config(config, label).get_text_config(decoder=True), _LAYERS, None)
    if not isinstance(found, int):
        raise MergingError(f"{label}: its config.json has no number of layers ({_LAYERS}): name a plain language model")
    return found


def stack_config(
    config_source: Mapping[str, object], origins: Sequence[Sequence[LayerOrigin]], label: str
) -> dict[str, object]:
    """The config source's config for a model of these layers, in their order.

    origins: for each layer of the result, the layers that are merged into it, the one whose settings it has first.
    The layers are those of the language models in these configs. MergingError where layers of different kinds
    (layer_types and the like) would be merged into one.
    """
    if (language := read_language_config(config_source, label)) is not None:
        inside = [[(read_language_config(config, label) or config, layer) for config, layer in one] for one in origins]
        key = min(language_keys(config_source))
        written = config_source.get(key)
        own = {"model_type": language["model_type"], **written} if isinstance(written, Mapping) else language
        around = config_source if isinstance(written, Mapping) else load_config(config_source, label).to_dict()
        return {**around, key: stack_config(own, inside, label)}
    leading = [merged[0] for merged in origins]
    # Read once each: a deep path takes its layers from few configs.
    distinct = {id(config): config for config, _ in leading}
    read = {key: read_layer_lists(config, label) for key, config in distinct.items()}
    settings = [read[id(config)] for config, _ in leading]
    names = sorted(set.intersection(*(set(found) for found in settings)))
    wanted = {name: [found[name][layer] for found, (_, layer) in zip(settings, leading, strict=True)] for name in names}
    for place, merged in enumerate(origins):
        _check_alike(place, merged, label)
    keys = _layer_keys(config_source, label)
    changed = dict(config_source) | dict.fromkeys(keys, len(origins))
    written = {name: values for name, values in wanted.items() if name in config_source}
    computed = read_layer_lists({key: value for key, value in changed.items() if key not in written} | written, label)
    return changed | {
        name: values for name, values in wanted.items() if name in config_source or computed.get(name) != values
    }


def check_layer_lists(config: Mapping[str, object], layers: int, label: str) -> None:
    """MergingError, with the setting's name, if a list with a value per layer is not as long as the model is deep."""
    for name in sorted(_depth_lists(str(config.get("model_type")))):
        given = config.get(name)
        if isinstance(given, list | tuple) and len(given) != layers:
            raise MergingError(f"{label}: {name} has {len(given)} entries for {layers} layers: fix its config.json")


def _check_alike(place: int, merged: Sequence[LayerOrigin], label: str) -> None:
    (first, layer), *others = merged
    settings = read_layer_lists(first, label) if others else {}
    for config, number in others:
        found = read_layer_lists(config, label)
        for name in settings.keys() & found.keys():
            one, other = settings[name][layer], found[name][number]
            if one != other:
                raise MergingError(
                    f"layer {place}: {name} is {one!r} in one model and {other!r} in another: choose layers of one kind"
                )


@cached_on_disk(list, list)
def _layer_keys(config: Mapping[str, object], label: str) -> list[str]:
    """The keys under which this config has the number of its layers."""
    names = {_LAYERS, type(load_config(config, label)).attribute_map.get(_LAYERS, _LAYERS)}
    return sorted(names & config.keys()) or [max(names - {_LAYERS}, default=_LAYERS)]


@cached_on_disk(dict, dict)
def read_layer_lists(config: Mapping[str, object], label: str) -> dict[str, list[object]]:
    """The settings with a value for each layer, whether given or computed from others by transformers."""
    read = load_config(config, label)
    depth = getattr(read, _LAYERS)
    named = _depth_lists(read.model_type) | _KINDS
    # Other lists, such as those of token ids, may be as long as the model is deep by chance.
    return {
        name: list(value)
        for name, value in read.to_dict().items()
        if name in named and isinstance(value, list | tuple) and len(value) == depth
    }


@lru_cache(maxsize=256)
def _depth_lists(kind: str) -> frozenset[str]:
    """Names of the lists that transformers makes as long as the model is deep, found by building two depths."""
    found = []
    for depth in _DEPTHS:
        try:
            values = load_config({"model_type": kind, _LAYERS: depth}, kind).to_dict()
        except MergingError:  # the family does not exist at every depth
            return frozenset()
        lists = {name: list(value) for name, value in values.items() if isinstance(value, list | tuple)}
        # A list that only counts has the layers' numbers, not their kinds.
        found.append({name for name, value in lists.items() if len(value) == depth and value != list(range(depth))})
    return frozenset(set.intersection(*found))


def load_config(config: Mapping[str, object], label: str) -> PreTrainedConfig:
    """A config.json as transformers reads it; MergingError if it cannot. label: name of the config in errors."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise MergingError(f"{label}: transformers knows no model_type {kind[:40]!r}")
    try:
        values = {key: _decoded(value) for key, value in config.items() if key != "model_type"}
        found: PreTrainedConfig = AutoConfig.for_model(kind, **values)
        found.to_dict()
    except Exception as error:  # any value may reach any constructor: nearly anything is raised
        reason = " ".join(str(error).split())[:200]
        raise MergingError(f"{label}: transformers cannot read it ({reason})") from error
    return found


@cached_on_disk(lambda found: found, lambda found: found)
def read_language_config(config: Mapping[str, object], label: str) -> dict[str, object] | None:
    """The config of the language model inside a model, as if it stood alone, with every default; None if it is all.

    label: name of the config in errors.
    """
    read = load_config(config, label)
    inside = read.get_text_config(decoder=True)
    # With values of JSON alone, so that it is the same whether it comes from the cache or not.
    found: dict[str, object] = json.loads(inside.to_json_string(use_diff=False))
    return None if inside is read else found


def language_type(config: Mapping[str, object]) -> str:
    """The model_type of the language model that a config has, or is."""
    return str((read_language_config(config, "config.json") or config).get("model_type"))


def language_keys(config: Mapping[str, object]) -> frozenset[str]:
    """The keys under which a config may have that of the language model inside its model."""
    read = load_config(config, "config.json")
    inside = read.get_text_config(decoder=True)
    return frozenset(key for key in vars(read) if getattr(read, key) is inside)


def is_tied(config: Mapping[str, object]) -> bool:
    """Whether a model with this config.json uses its input embeddings as its head too."""
    return _tie_word_embeddings(config, "config.json")


@cached_on_disk(bool, bool)
def _tie_word_embeddings(config: Mapping[str, object], label: str) -> bool:
    return bool(getattr(load_config(config, label), "tie_word_embeddings", False))


def _decoded(value: object) -> object:
    """A value of config.json. transformers writes numbers that JSON lacks as {"__float__": "Infinity"}."""
    if isinstance(value, Mapping):
        return (
            float(value["__float__"]) if value.keys() == {"__float__"} else {k: _decoded(v) for k, v in value.items()}
        )
    return [_decoded(entry) for entry in value] if isinstance(value, list) else value
