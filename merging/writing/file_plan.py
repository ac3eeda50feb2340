"""The plan of a release's files, as far as they depend on its recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from merging.errors import MergingError
from merging.writing.shards import Merge


@dataclass(frozen=True)
class FilePlan:
    """The part of a release that depends on its recipe, planned before any tensor is made.

    shapes: tensor name → shape, in the order of writing. make: makes a tensor of that shape in the recipe's dtype.
    config: the config.json, but for its dtype. mergekit_yaml: the recipe for mergekit.
    """

    shapes: Mapping[str, tuple[int, ...]]
    make: Merge
    config: Mapping[str, Any]
    mergekit_yaml: str


def mergekit_yaml_or_reason(write_yaml: Callable[[], str]) -> str:
    """The recipe as mergekit's YAML, or a comment with the reason why mergekit cannot make this merge."""
    try:
        return write_yaml()
    except MergingError as error:
        reason = " ".join(str(error).split())  # a tensor's name comes from a source, and must not end the comment
        return f"# mergekit cannot make this merge ({reason}).\n# The exact recipe is in shoal.json.\n"
