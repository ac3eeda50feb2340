"""The limits of mergekit 0.1.5 with a path's recipe, as sentences for comments in the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from merging.models.layer_config import read_depth, read_layer_lists
from merging.paths.folding import folding_rule
from merging.paths.layout import path_config
from merging.recipes.path import PathRecipe


@dataclass(frozen=True)
class _List:
    """The faults of mergekit's list of a family's tensors.

    lacks: part of tensor names that models of the family may have and the list lacks.
    needs: tensors on the list that not every model of the family has.
    """

    lacks: str | None = None
    needs: tuple[str, ...] = ()


_LISTS: Mapping[str, _List] = MappingProxyType(
    {
        **dict.fromkeys(("glm4", "gpt2", "granite", "mistral", "mixtral", "phi3", "qwen2", "starcoder2"), _List()),
        **dict.fromkeys(("arcee", "cohere2", "gemma", "gemma2", "gemma3_text", "llama"), _List("_proj.bias")),
        **dict.fromkeys(("olmo2", "qwen3", "qwen3_moe"), _List("_proj.bias")),
        "cohere": _List("_proj.bias", ("self_attn.q_norm.weight",)),
        "falcon": _List("query_key_value.bias", ("ln_attn.weight", "lm_head.weight")),
        "gpt_neox": _List(None, ("attention.masked_bias",)),
        "mamba": _List("in_proj.bias"),
        "phi": _List("q_layernorm."),
        "stablelm": _List("q_layernorm.", ("post_attention_layernorm.weight",)),
    }
)
"""model_type → mergekit's list. For other families mergekit takes the tensors from the files."""

_NORMS = (
    "The norms after this family's layers multiply by 1 + weight, so a scale S makes them (1 + weight) / S - 1. "
    "mergekit can only multiply: it makes this path without its scales."
)
_NEEDS = "mergekit stops unless the models' files have {} as well. `shoal merge` needs only what the model needs."
_LACKS = (
    "mergekit leaves out tensors that its own list for this family lacks, such as {}. `shoal merge` takes them all."
)
_ENDS = (
    "mergekit takes everything outside this family's layers from the first slice, even the head. "
    "`shoal merge` takes the head from the last."
)
_CONFIG = (
    "mergekit writes no config.json that fits these weights: it has another depth or other kinds of layers, or is "
    "not written at all. Use the config.json of the release, or `shoal merge`."
)


def mergekit_limits(path: PathRecipe, config: Mapping[str, object], tensor_names: Sequence[str]) -> Iterator[str]:
    """The differences that somebody who runs a path's recipe with mergekit should know.

    config: the parts' config.json. tensor_names: those of a whole part.
    """
    label = str(path.parts[0].origins[0])
    known = _LISTS.get(str(config.get("model_type")))
    if not folding_rule(config, label).by_factor and any(stream != 1 for stream in path.streams):
        yield _NORMS
    needs, lacks = (known.needs, known.lacks) if known else ((), None)
    if absent := [part for part in needs if not any(part in name for name in tensor_names)]:
        yield _NEEDS.format(absent[0])
    if lacks and (unlisted := [name for name in tensor_names if lacks in name]):
        yield _LACKS.format(unlisted[0])
    if not known and path.head != path.embedding:
        yield _ENDS
    before, after = read_layer_lists(config, label), read_layer_lists(path_config(path, config), label)
    as_deep = len(path.hops) == read_depth(config, label)
    if (before != after) if as_deep else (before or not known):
        yield _CONFIG
