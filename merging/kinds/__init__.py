"""The registry of kinds of models; what other packages need to know of a kind is registered there, by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from merging.errors import MergingError
from merging.kinds.causal_lm import CausalLM
from merging.kinds.image import ImageGenerator
from merging.kinds.kind import CompanionFile, ModelKind, read_architectures
from merging.kinds.vision_language import VisionLanguage

KINDS: Mapping[str, ModelKind] = MappingProxyType(
    {kind.name: kind for kind in (CausalLM(), VisionLanguage(), ImageGenerator())}
)
"""Every kind by its name."""

COMPANION_FILES: Mapping[str, CompanionFile] = MappingProxyType(
    {file.path: file for kind in KINDS.values() for file in kind.files}
)
"""The files that may belong to models of any kind, by path."""


_IS_NOT = " is not "
"""Stands in the reasons of all kinds between a model and what it is not."""


def kind_of(config: Mapping[str, Any]) -> ModelKind:
    """The kind of the model that a config describes.

    A model that was saved without its head (`LlamaModel`) does not say what it is: it counts as the first kind.

    Raises:
        MergingError: a model of no kind.
    """
    named = [name for name in read_architectures(config) if not _is_headless(name)]
    if not named:
        return next(iter(KINDS.values()))
    asked = {**config, "architectures": named} if "architectures" in config else config
    for kind in KINDS.values():
        if kind.find_refusal(asked) is None:
            return kind
    raise MergingError(str(find_refusal(asked)))


def find_refusal(config: Mapping[str, Any], kinds: Iterable[ModelKind] = KINDS.values()) -> str | None:
    """Say in a few words why a model with this config is of none of these kinds; None if it is of one."""
    reasons = [kind.find_refusal(config) for kind in kinds]
    if None in reasons:
        return None
    distinct = list(dict.fromkeys(map(str, reasons)))
    # A kind that a model would be of, but for one thing, says more than those that it is not of.
    if near := [reason for reason in distinct if _IS_NOT not in reason]:
        return near[0]
    about, is_not, _ = distinct[0].partition(_IS_NOT)
    alike = [reason for reason in distinct if reason.startswith(about + is_not)]
    return "; ".join(alike).replace(f"; {about}{is_not}", " or ")


def _is_headless(architecture: str) -> bool:
    return architecture.endswith("Model") and not architecture.endswith("LMHeadModel")
