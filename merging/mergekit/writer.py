"""Writes a recipe as the YAML that mergekit reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.component_limits import component_limits
from merging.mergekit.config import UNION
from merging.mergekit.module_names import VISION_LANGUAGE_MODULES
from merging.mergekit.modules import language_part, other_modules
from merging.mergekit.parameters import spell_value
from merging.mergekit.text import as_comment, dump_config
from merging.methods import METHODS
from merging.partition import Block, Searched, is_within
from merging.recipes.weight_merge import WeightMerge
from merging.specs.method import Parameter
from merging.tensor_names import parse_name

# A group for the tensors whose name contains the filter; None matches all. The first that matches counts.
Condition = tuple[str | None, int]
_EVERYWHERE: Condition = (None, 0)

_DRAW_NOTE = (
    "# mergekit draws its random masks from a generator of its own, and rescales by the norm:\n"
    "# it makes a merge like this one, not the same bytes.\n"
)


VOCABULARY_NOTE = (
    "The models under `tokenizer` decide on the vocabulary, the first of them leading, whichever models are merged. "
    "mergekit passes over their list: it takes the tokens of the models that it merges, led by the base_model, and so "
    "may have other rows."
)


def to_mergekit_yaml(
    recipe: WeightMerge,
    tensor_names: Iterable[str],
    names: Mapping[ModelId, str] | None = None,
    model_type: str = "",
) -> str:
    """A configuration whose merge by mergekit equals ours, for the methods that draw no random numbers.

    tensor_names: the checkpoint's; mergekit distinguishes modules by parts of tensor names.
    names: names of sources to write instead of "repo@sha", such as folders. model_type: that of a model of several
    components; comments say what mergekit makes of these.

    Raises:
        MergingError: groups that mergekit's filters cannot tell apart, or components that its modules cannot say.
    """
    if recipe.last_stage is not None:
        raise MergingError(f"it adds no adapter to what it has merged, as {recipe.last_stage.adapter.location} is here")
    several, tensors = len(recipe.groups.components) > 1, tuple(tensor_names)
    part = language_part(recipe) if several else recipe
    call = {origin: (names or {}).get(origin, str(origin)) for origin in recipe.origins}
    config: dict[str, Any] = {"merge_method": recipe.method}
    base_model = _base_model(recipe, several=several)
    if base_model is not None:
        config["base_model"] = call[base_model]
    config |= {"dtype": "float32", "out_dtype": recipe.dtype}
    if several:
        of_language = [name for name in tensors if is_within(name, recipe.groups.components[0].within)]
        config |= {"carrier": call[recipe.carrier]} if recipe.carrier else {}
        others = other_modules(recipe, tensors, call, base_model)
        config["modules"] = {VISION_LANGUAGE_MODULES.main: _stack(part, of_language, call), **others}
    else:
        config |= _stack(part, tensors, call)
    config |= vocabulary_section(recipe.vocabulary, call)
    unlike = [VOCABULARY_NOTE] if recipe.vocabulary else []
    unlike += _module_limits(recipe, config["modules"], call, model_type) if several else []
    notes = "".join(map(as_comment, unlike))
    return (_DRAW_NOTE if METHODS[recipe.method].draws else "") + notes + dump_config(config)


def _module_limits(
    recipe: WeightMerge, modules: Iterable[str], call: Mapping[ModelId, str], model_type: str
) -> Iterator[str]:
    """What mergekit makes of a merge of several components. modules: those that the file has."""
    inside = [call[model] for model in recipe.merged_models if model in recipe.groups.lacking_models]
    named = {VISION_LANGUAGE_MODULES.others.get(module) for module in modules}
    left_out = [one.name for one in recipe.groups.components[1:] if one.name not in named]
    return component_limits(model_type, inside, (), left_out)


def _base_model(recipe: WeightMerge, *, several: bool) -> ModelId | None:
    """The file's base_model: the base, or the first source where the method begins with it.

    Where a method reads no base, mergekit still takes the config and the tokenizer from it. Of several components they
    are the carrier's, and mergekit would merge the base_model into each of them.
    """
    use = METHODS[recipe.method].base
    if recipe.base is None and (use == "optional" or (several and use == "ignored")):
        return None
    return recipe.origins[0]


def _stack(recipe: WeightMerge, tensor_names: Sequence[str], call: Mapping[ModelId, str]) -> dict[str, Any]:
    """The models or slices of one stack of layers, and the parameters that all of it shares."""
    stack, everywhere = recipe.groups.only_stack, [_EVERYWHERE]
    section: dict[str, Any] = {}
    if all(_is_even(recipe, name) for name in METHODS[recipe.method].parameters):
        section["models"] = _inputs(recipe, everywhere, call, {})
    else:
        section["slices"] = [
            _slice(recipe, block, conditions, call)
            for block, conditions in zip(stack.bands, _filters(recipe, stack, tensor_names), strict=True)
        ]
    _add_shared(section, recipe, everywhere, even=True)
    return section


def vocabulary_section(deciding: Sequence[ModelId], call: Mapping[ModelId, str]) -> dict[str, Any]:
    """The key of a merge whose vocabulary these models decide on; nothing where there are none. call: their names."""
    if not deciding:
        return {}
    listed = [call[model] for model in deciding]
    return {"tokenizer": {"source": UNION if len(listed) > 1 else listed[0], "models": listed}}


def _slice(
    recipe: WeightMerge, band: Block, conditions: Sequence[Condition], call: Mapping[ModelId, str]
) -> dict[str, Any]:
    place = {"layer_range": list(band.layers or ())}
    layers: dict[str, Any] = {"sources": _inputs(recipe, conditions, call, place)}
    if recipe.base is not None:
        layers["sources"].append({"model": call[recipe.base], **place})
    _add_shared(layers, recipe, conditions, even=False)
    return layers


def _inputs(
    recipe: WeightMerge, conditions: Sequence[Condition], call: Mapping[ModelId, str], place: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The sources, each with its own values of the parameters that have one per source."""
    inputs = []
    for index, source in enumerate(recipe.sources):
        own = {
            name: _setting(parameter, recipe.rows(name)[index], conditions)
            for name, parameter in METHODS[recipe.method].parameters.items()
            if parameter.per_source
        }
        inputs.append({"model": call[source], **place, **({"parameters": own} if own else {})})
    return inputs


def _add_shared(target: dict[str, Any], recipe: WeightMerge, conditions: Sequence[Condition], *, even: bool) -> None:
    """Add the parameters that all sources share: those with one value for all groups, or (not even) the others."""
    for name, parameter in METHODS[recipe.method].parameters.items():
        if not parameter.per_source and _is_even(recipe, name) == even:
            target.setdefault("parameters", {})[name] = _setting(parameter, recipe.rows(name)[0], conditions)


def _is_even(recipe: WeightMerge, name: str) -> bool:
    return all(len(set(row)) == 1 for row in recipe.rows(name))


def _setting(parameter: Parameter, row: Sequence[float], conditions: Sequence[Condition]) -> Any:
    values = [spell_value(parameter, row[group]) for _, group in conditions]
    if len(set(values)) == 1:
        return values[0]
    return [
        {"value": value} if part is None else {"filter": part, "value": value}
        for (part, _), value in zip(conditions, values, strict=True)
    ]


def _filters(recipe: WeightMerge, stack: Searched, tensor_names: Iterable[str]) -> list[list[Condition]]:
    """The conditions of each band's slice, tried on every tensor name before they are trusted.

    mergekit resolves the tensors before the layers in the first slice, and those after them in the last.
    """
    tensors = tuple(tensor_names)
    last = len(stack.bands) - 1
    found = [_conditions(stack, band, tensors) for band in range(last + 1)]
    for name in tensors:
        place = parse_name(name)
        if place.layer is None:
            band = 0 if place.is_embedding else last
        else:
            band = next(index for index, block in enumerate(stack.bands) if block.holds(name, place))
        group = next(group for part, group in found[band] if part is None or part in name)
        if group != recipe.groups.group(name):
            raise MergingError(f"tensor {name}: mergekit's filters cannot tell its group from others")
    return found


def _conditions(stack: Searched, band: int, tensors: Sequence[str]) -> list[Condition]:
    block = stack.bands[band]
    rest = stack.group_in_block(block, "rest")
    conditions: list[Condition] = []
    if block.modules_apart:
        inside = {parse_name(name).component for name in tensors}
        attention = stack.group_in_block(block, "attention")
        conditions += [(f".{part}.", attention) for part in stack.attention if part in inside]
    if block.routers_apart:
        routers = stack.group_in_block(block, "routers")
        ends = {name.rpartition(".")[2] for name in tensors}
        conditions += [(f".{part}" if part in ends else f".{part}.", routers) for part in stack.routers]
    is_first, is_last = band == 0, band == len(stack.bands) - 1
    ends_apart = len(stack.bands) < len(stack.blocks)
    if not ends_apart or not (is_first or is_last):
        return [*conditions, (None, rest)]
    stacks = {place.stack.rpartition(".")[2] for place in map(parse_name, tensors) if place.layer is not None}
    conditions += [(f"{name}.", rest) for name in sorted(stacks)]
    embed, head = 0, len(stack.labels) - 1
    if is_first and is_last:
        conditions += [(name, embed) for name in tensors if parse_name(name).is_embedding]
    return [*conditions, (None, head if is_last else embed)]
