"""Writes a merge of pipelines as a recipe file that `shoal merge` reads, and from which it makes the same files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.module_names import PIPELINE_MODULES
from merging.mergekit.parameters import spell_value
from merging.mergekit.settings import Condition
from merging.mergekit.text import OneLine, as_comment, dump_config
from merging.methods import METHODS
from merging.partition import Component, Searched, Whole, is_within
from merging.pipelines.index import NO_MERGEKIT
from merging.pipelines.parts import PipelineParts
from merging.recipes.weight_merge import WeightMerge
from merging.specs.method import Parameter

Rule = tuple[tuple[str, ...], int]
"""The group of the tensors whose name contains each of some parts; of several rules, the first that holds counts."""


def render_pipeline_recipe(merge: WeightMerge, parts: PipelineParts, carrier: ModelId) -> str:
    """The recipe file of a merge. parts: what becomes of each component. carrier: the model whose all else is.

    Where no file can say the merge, it holds the reason alone, as comments.
    """
    try:
        config = _config(merge, parts, carrier)
    except MergingError as error:
        reason = " ".join(str(error).split())  # a tensor's name comes from a source, and must not end the comment
        return f"# {NO_MERGEKIT}\n{as_comment(f'There is no recipe file for this merge: {reason}.')}{_EXACT}"
    return f"# {NO_MERGEKIT}\n" + "".join(map(as_comment, _notes(merge))) + dump_config(config)


_EXACT = "# The exact recipe is in shoal.json.\n"


def _notes(merge: WeightMerge) -> Iterator[str]:
    seed = f" --seed {merge.seed}" if METHODS[merge.method].draws else ""
    yield f"`shoal merge FILE FOLDER{seed}` makes the same weights from this file."
    if drawing := merge.describe_drawing():
        yield f"The search chose to draw {drawing}, which the files do not say: see the card's code."


def _config(merge: WeightMerge, parts: PipelineParts, carrier: ModelId) -> dict[str, Any]:
    denoiser, *others = merge.groups.components
    modules = {PIPELINE_MODULES.main: _denoiser(merge, denoiser, list(parts.merged[denoiser.within[0]]))}
    for component in others:
        (folder,) = component.within
        given = component.use.source if isinstance(component.use, Whole) else None
        if given or folder in parts.whole:
            owner = given or parts.whole[folder] or carrier
            module: dict[str, Any] | None = None if owner == carrier else {"models": [{"model": str(owner)}]}
        else:
            module = _merged_alike(merge, component, list(parts.merged[folder]))
        if module is None:
            continue  # what a file leaves out is the carrier's
        if component.name not in PIPELINE_MODULES.others:
            raise MergingError(f"there is no module for its {component.name}")
        modules[component.name] = module
    stage = merge.last_stage
    return {
        "merge_method": merge.method,
        **({"base_model": str(merge.base)} if merge.base else {}),
        "dtype": merge.dtype,
        "carrier": str(carrier),
        "modules": modules,
        **({"last_stage": {"model": str(stage.adapted), "scale": stage.scale}} if stage else {}),
    }


def _denoiser(merge: WeightMerge, component: Component, names: Sequence[str]) -> dict[str, Any]:
    """The module of the component whose groups have values of their own."""
    if not isinstance(component.use, Searched):
        raise MergingError(f"its {component.name} has no groups of its own")
    rules = _rules(merge, component.use, names)

    def spell(parameter: Parameter, name: str, source: int) -> object:
        row = merge.rows(name)[source]
        return _setting([(parts, spell_value(parameter, row[group])) for parts, group in rules])

    return _module(merge.method, merge.sources, spell)


def _merged_alike(merge: WeightMerge, component: Component, names: Sequence[str]) -> dict[str, Any]:
    """The module of a component whose tensors are all merged alike; MergingError if they are not."""
    first, *others = [merge.tensor_merge(name) for name in names]
    if any(other != first for other in others):
        raise MergingError(f"the tensors of its {component.name} have several values, and a module has one")
    if (first.method, first.base) != (merge.method, merge.base):
        raise MergingError(f"its {component.name} is not merged by {merge.method}, as some models lack it")

    def spell(parameter: Parameter, name: str, source: int) -> object:
        return spell_value(parameter, first.values[name][source])

    return _module(first.method, first.sources, spell)


def _module(method: str, sources: Sequence[ModelId], spell: Callable[[Parameter, str, int], object]) -> dict[str, Any]:
    """The models of a module with their values, and the values that all share.

    spell: (parameter, its name, number of the source) → the value as it is written.
    """
    models: list[dict[str, Any]] = [{"model": str(source)} for source in sources]
    shared = {}
    for name, parameter in METHODS[method].parameters.items():
        if not parameter.per_source:
            shared[name] = spell(parameter, name, 0)
            continue
        for at, model in enumerate(models):
            model.setdefault("parameters", {})[name] = spell(parameter, name, at)
    return {"models": models, **({"parameters": shared} if shared else {})}


def _setting(values: Sequence[tuple[tuple[str, ...], object]]) -> object:
    """A parameter's value, or one for each filter: rules that say what the last one says are left out before it."""
    kept = list(values)
    while len(kept) > 1 and kept[-2][1] == kept[-1][1]:
        del kept[-2]
    if len(kept) == 1:
        return kept[0][1]
    return [
        OneLine(filter=parts[0] if len(parts) == 1 else list(parts), value=value) if parts else OneLine(value=value)
        for parts, value in kept
    ]


def _rules(merge: WeightMerge, use: Searched, names: Sequence[str]) -> list[Rule]:
    """Rules that give every tensor its group; MergingError if names cannot tell them."""
    groups = {name: merge.groups.group(name) for name in names}
    blocks: list[tuple[tuple[str, ...], list[str]]] = []
    first = 0
    for block in use.blocks:
        own = range(first, first + len(block.labels))
        if inside := [name for name in names if groups[name] in own]:
            blocks.append((block.within, inside))
        first = own.stop
    rules: list[Rule] = []
    for within, inside in blocks[:-1]:
        for path in within:
            if held := [name for name in inside if is_within(name, (path,))]:
                whole = path in held  # a tensor of its own, not a module
                rules += _rules_inside((path if whole else f"{path}.",), held, groups, use.attention)
    rules += _rules_inside((), blocks[-1][1], groups, use.attention)
    for name, group in groups.items():
        if group != next(found for parts, found in rules if Condition(parts, ()).holds(name)):
            raise MergingError(f"tensor {name}: filters cannot tell its group from others")
    return rules


def _rules_inside(
    place: tuple[str, ...], names: Sequence[str], groups: Mapping[str, int], attention: Sequence[str]
) -> list[Rule]:
    """The rules of the tensors in one place: those of attention first, where that is a group of its own."""
    apart = [name for name in names if is_within(name, attention)]
    rest = [name for name in names if name not in set(apart)]
    if not apart or not rest or groups[apart[0]] == groups[rest[0]]:
        return [(place, groups[names[0]])]
    inside = [(*place, part) for part in _attention_parts(names, apart, attention)]
    return [*((parts, groups[apart[0]]) for parts in inside), (place, groups[rest[0]])]


def _attention_parts(names: Sequence[str], apart: Sequence[str], attention: Sequence[str]) -> list[str]:
    """Parts of names that only attention has: the common beginning of its modules' names, or each of them."""
    modules: list[str] = []
    for module in attention:
        if any(is_within(name, (module,)) and not is_within(name, modules) for name in apart):
            modules.append(module)
    start = "." + "".join(
        letters[0] for letters in takewhile(lambda one: len(set(one)) == 1, zip(*modules, strict=False))
    )
    alike = len(start) > 1 and sum(start in name for name in names) == len(apart)
    return [start] if alike else [f".{module}." for module in modules]
