"""The registry of kinds of models; what other packages need to know of a kind is registered there, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from merging.errors import MergingError
from merging.kinds.causal_lm import CausalLM
from merging.kinds.kind import CompanionFile, ModelKind

KINDS: Mapping[str, ModelKind] = MappingProxyType({kind.name: kind for kind in (CausalLM(),)})
"""Every kind by its name."""

COMPANION_FILES: Mapping[str, CompanionFile] = MappingProxyType(
    {file.path: file for kind in KINDS.values() for file in kind.files}
)
"""The files that may belong to models of any kind, by path."""


def kind_of(config: Mapping[str, Any]) -> ModelKind:
    """The kind of the model that a config describes.

    A model that was saved without its head (`LlamaModel`) does not say what it is: it counts as the first kind.

    Raises:
        MergingError: a model of no kind.
    """
    named = [str(name) for name in config.get("architectures") or () if not _is_headless(str(name))]
    if not named:
        return next(iter(KINDS.values()))
    for kind in KINDS.values():
        if kind.find_refusal({**config, "architectures": named}) is None:
            return kind
    raise MergingError(str(find_refusal({**config, "architectures": named})))


def find_refusal(config: Mapping[str, Any]) -> str | None:
    """Say in a few words why a model with this config is of no kind; None if it is of one."""
    reasons = [kind.find_refusal(config) for kind in KINDS.values()]
    return None if None in reasons else "; ".join(dict.fromkeys(map(str, reasons)))


def _is_headless(architecture: str) -> bool:
    return architecture.endswith("Model") and not architecture.endswith("LMHeadModel")
