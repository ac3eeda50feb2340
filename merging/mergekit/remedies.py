"""What messages about a recipe say: the values that were found, and what to do about keys that do not belong there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from merging.mergekit.parameters import EVERY_PARAMETER
from merging.mergekit.text import show_value

_SHOWN = 60

NOT_DONE = {
    "residual_weight": "mergekit reads it and does nothing with it; leave it out",
    "override_architecture": "the architecture is the one in the model's own config.json; leave it out",
}
"""Keys of mergekit's format that are refused → why."""

OTHER_FILES = {
    "experts": "this is a file of mergekit-moe, which builds a mixture of experts; a merge has `merge_method:`",
    "genome": "this is a file of mergekit-evolve; to search for a merge, write a watchlist and use `shoal run`",
    "skills": "this is a watchlist; use `shoal run`",
}
"""Keys that only files for another program or command have → the kind of file."""

_ELSEWHERE = {
    "random_seed": "the seed is given on the command line, as --seed",
    "layer_range": "write `slices:` with `sources:`, each with its own layer_range",
}
"""Keys that people write into a recipe → the place where they belong."""


def remedy_for_key(key: str, known: Sequence[str]) -> str:
    """What to do about a key that a mapping does not have."""
    if key in _ELSEWHERE:
        return f"there is no such key here: {_ELSEWHERE[key]}"
    if key in EVERY_PARAMETER and "parameters" in known:
        return "there is no such key here: it is a parameter, write it below `parameters:`"
    return f"there is no such key here{suggest(key, known)}"


def describe_value(data: object) -> str:
    """A value of the file in a few characters, as it is written there, for messages."""
    if data is None:
        return "nothing"
    if isinstance(data, bool):
        return str(data).lower()
    if not isinstance(data, Mapping | list | tuple):
        return repr(data)[:_SHOWN]
    text = show_value(data)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def suggest(word: object, known: Sequence[str] | Mapping[str, Any]) -> str:
    """`; did you mean …?` if a known word is spelled nearly like it, else nothing."""
    close = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
