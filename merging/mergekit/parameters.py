"""Reads mergekit's parameters by the registry of methods, and checks a slice's models against its method."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from merging.mergekit.config import KeyPath
from merging.mergekit.settings import Condition, Scalar, Setting
from merging.methods import METHODS
from merging.specs.method import Parameter

Name = TypeVar("Name", bound=Hashable)

Wrong = tuple[KeyPath, object, str]
"""A fault in a parameter's value: its path there, what was found, and what to write."""

EVERY_PARAMETER = frozenset(name for method in METHODS.values() for name in (*method.parameters, *method.ignored))
"""Every parameter that a method reads, or ignores because it changes nothing."""

_CONDITION = frozenset({"filter", "value"})


def read_setting(data: object, parameter: Parameter) -> tuple[Setting, list[Wrong]]:
    """A parameter's value as a setting, and what is wrong with it.

    It is one value, a list of them (a gradient), or a list of `{filter, value}` of either.
    """
    if isinstance(data, Mapping):
        return _conditions([((), data)], parameter)
    if isinstance(data, list | tuple) and any(isinstance(entry, Mapping) for entry in data):
        return _conditions([((place,), entry) for place, entry in enumerate(data)], parameter)
    values, wrong = _values(data, (), parameter)
    return (Condition((), values),), wrong


def read_number(data: object) -> float | None:
    """A number; None if it is none that a float can be. YAML 1.1 reads numbers such as 1e-5 as texts."""
    if isinstance(data, bool) or not isinstance(data, int | float | str):
        return None
    try:
        return float(data)
    except (ValueError, OverflowError):  # a word; a whole number of hundreds of digits
        return None


def spell_value(parameter: Parameter, value: float) -> Scalar:
    """A parameter's value as it is written."""
    spell: Mapping[str, Callable[[float], Scalar]] = {"switch": bool, "count": int, "number": float}
    return spell[parameter.kind](value)


def assign_roles(method: str, models: Sequence[Name], base: Name | None) -> tuple[tuple[Name, ...], Name | None]:
    """A slice's models as (the method's sources in order, its base or None).

    mergekit's base_model is an ordinary source of methods that read no base, and the first source of those that go
    from one model to another.
    """
    use = METHODS[method].base
    if use == "ignored" or base is None:
        return tuple(models), None
    others = tuple(model for model in models if model != base)
    return ((base, *others), None) if use == "first" else (others, base)


def slice_fault(method: str, models: Sequence[Name], base: Name | None) -> tuple[str, str] | None:
    """The reason why a method cannot merge the models of a slice, as (what it got, what to do); None if it can."""
    rule = METHODS[method]
    if rule.needs_base and base is None:
        return "no base_model", f"{method} merges differences from a base model, name it"
    if base is not None and base not in models and rule.base != "ignored":
        return f"slices without {base}", "the base_model is one of the models of every slice: add it with its layers"
    sources, _ = assign_roles(method, models, base)
    least, most = rule.min_sources, rule.max_sources
    if least <= len(sources) <= (most or len(sources)):
        return None
    wanted = f"exactly {most}" if most == least else f"at least {least}" if most is None else f"at most {most}"
    besides = " besides the base" if rule.reads_base and base is not None else ""
    return f"{len(sources)} models{besides}", f"{method} merges {wanted}"


def _conditions(entries: Sequence[tuple[KeyPath, object]], parameter: Parameter) -> tuple[Setting, list[Wrong]]:
    setting: list[Condition] = []
    wrong: list[Wrong] = []
    for path, entry in entries:
        if not isinstance(entry, Mapping) or "value" not in entry:
            wrong.append((path, entry, "write `value:`, and `filter:` above it if it is not for all tensors"))
            continue
        unknown = sorted(entry.keys() - _CONDITION)
        wrong += [((*path, key), entry[key], "write `filter` and `value` only") for key in unknown]
        named = entry.get("filter")
        parts = () if named is None else tuple(named) if isinstance(named, list | tuple) and named else (named,)
        if not all(isinstance(part, str) and part for part in parts):
            why = "write a part of a tensor's name, such as self_attn, or a list of parts that it must all have"
            wrong.append(((*path, "filter"), named, why))
            continue
        values, more = _values(entry["value"], (*path, "value"), parameter)
        setting.append(Condition(parts, values))
        wrong += more
    return tuple(setting), wrong


def _values(data: object, path: KeyPath, parameter: Parameter) -> tuple[tuple[Scalar, ...], list[Wrong]]:
    """One value, or a gradient's; a check of its points is enough, because values between them are within range too."""
    if not isinstance(data, list | tuple):
        entries: list[tuple[KeyPath, object]] = [(path, data)]
    elif data:
        entries = [((*path, place), entry) for place, entry in enumerate(data)]
    else:
        return (), [(path, data, "write a value, or a list of at least one")]
    values: list[Scalar] = []
    wrong: list[Wrong] = []
    for where, got in entries:
        value = _scalar(got, parameter)
        if value is None:
            wanted = "true or false" if parameter.kind == "switch" else "a number"
            wrong.append((where, got, f"write {wanted}"))
        elif fault := parameter.fault(float(value)):
            wrong.append((where, got, fault))
        else:
            values.append(value)
    return tuple(values), wrong


def _scalar(data: object, parameter: Parameter) -> Scalar | None:
    """A value of the parameter's kind; None if it is of another."""
    if parameter.kind == "switch":
        return bool(data) if isinstance(data, bool | int | float) and data in (0, 1) else None
    return read_number(data)
