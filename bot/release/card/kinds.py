"""The parts of a card that depend on the kind of model, by the kind's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

USAGE: Mapping[str, str] = MappingProxyType(
    {
        "language": "usage_language.md.j2",
        "vision-language": "usage_vision_language.md.j2",
        "image": "usage_image.md.j2",
    }
)
"""Template of the code that loads and runs a release."""


@dataclass(frozen=True)
class KindWords:
    """What cards of a kind say in other words.

    costs: what a release's cost is counted by. carried: what it has of its carrier, as the rest of a sentence.
    outputs: what nobody has reviewed. unchecked: what else was not looked at. mergekit: whether mergekit can build
    such models.
    """

    costs: str
    carried: str
    outputs: str
    unchecked: str
    mergekit: bool


_ANSWERS = KindWords(
    costs="a token",
    carried="whose config and processor it has",
    outputs="answers",
    unchecked="nothing was done about safety, bias or truthfulness beyond what its sources did",
    mergekit=True,
)

WORDS: Mapping[str, KindWords] = MappingProxyType(
    {
        "language": _ANSWERS,
        "vision-language": _ANSWERS,
        "image": KindWords(
            costs="a step",
            carried="whose scheduler it has, and every component that the recipe does not name",
            outputs="pictures",
            unchecked=(
                "nothing was done about safety or bias: no filter of contents was run on its pictures or its prompts, "
                "and it was not measured whom and what it draws where a prompt does not say"
            ),
            mergekit=False,
        ),
    }
)
