"""The parts of a card that depend on the kind of model, by the kind's name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

USAGE: Mapping[str, str] = MappingProxyType(
    {"language": "usage_language.md.j2", "vision-language": "usage_vision_language.md.j2"}
)
"""Template of the code that loads and runs a release."""
