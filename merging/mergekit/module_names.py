"""The names of a recipe's modules, by the kind of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from merging.kinds.kind import PROJECTOR, VISION_TOWER
from merging.pipelines.index import DENOISER, SCHEDULER, VAE


@dataclass(frozen=True)
class ModuleNames:
    """The names of the modules that models of one kind have.

    main: that of the module with layers. others: those of all others, each of which is whole → the component that it
    is. lone: those among them that are not merged, but of one model.
    """

    main: str
    what: str
    others: Mapping[str, str]
    lone: tuple[str, ...] = ()


VISION_LANGUAGE_MODULES = ModuleNames(
    "text_decoder",
    "the language model",
    MappingProxyType({"vision_tower": VISION_TOWER, "vision_model": VISION_TOWER, "multi_modal_projector": PROJECTOR}),
)
"""mergekit's names."""

PIPELINE_MODULES = ModuleNames(
    DENOISER,
    "the UNet or the transformer",
    MappingProxyType(
        {
            one: one
            for one in (
                *("text encoder", "text encoder 2", "text encoder 3", VAE, SCHEDULER),
                *("image encoder", "safety checker"),
            )
        }
    ),
    lone=(SCHEDULER,),
)
"""mergekit has no pipelines: these are the names of components everywhere else."""


def module_names(modules: Mapping[str, Any]) -> ModuleNames:
    """The names that modules may have: those of pipelines, if one of them is there."""
    names = (PIPELINE_MODULES.main, *PIPELINE_MODULES.others)
    return VISION_LANGUAGE_MODULES if modules.keys().isdisjoint(names) else PIPELINE_MODULES


def is_one_model(module: Mapping[str, Any]) -> bool:
    """Whether a module is that of a single model as it is, without parameters."""
    models = module.get("models")
    listed = [one for one in models if isinstance(one, Mapping)] if isinstance(models, list | tuple) else []
    return len(listed) == 1 and not module.get("parameters") and not listed[0].get("parameters")
