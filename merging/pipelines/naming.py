"""The names that merges have for a pipeline's tensors: the component's folder, then the name in memory."""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from merging.errors import MergingError
from merging.models.transformers_cache import cached_on_disk
from merging.pipelines.diffusers_classes import component_class, diffusers_version, import_diffusers
from merging.pipelines.index import COMPONENTS_KEY, INDEX, component_name, denoiser_folder, listed_components

if TYPE_CHECKING:
    from torch import nn

_UNBUILDABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, ArithmeticError)


def name_pipeline_tensors(config: Mapping[str, Any], label: str, names: Iterable[str]) -> dict[str, str]:
    """Name of a tensor in a pipeline's files, after its component's folder → the name that merges have for it.

    diffusers has one name for a tensor; for text encoders transformers is asked, whose files have several. A tied
    tensor has the name that the others are tied to. config: the pipeline's. label: its name in errors. MergingError if
    a component cannot be built.
    """
    listed = listed_components(config)
    inside: dict[str, list[str]] = defaultdict(list)
    for name in names:
        component, _, rest = name.partition(".")
        inside[component].append(rest)
    found: dict[str, str] = {}
    for component, own in inside.items():
        library, _ = listed[component]
        renamed = {name: name for name in own}
        if library == "transformers":
            question = {**_about(config, component, label), "names": sorted(own)}
            renamed = _names_in_memory(question, _where(label, component))
        found |= {f"{component}.{name}": f"{component}.{renamed[name]}" for name in own}
    return found


def pipeline_components(config: Mapping[str, Any], label: str) -> dict[str, tuple[str, ...]]:
    """Component → its paths: of the denoiser all that it declares at its top level, in order; of others the folder.

    The denoiser is first. label: name of the config in errors. MergingError if the denoiser cannot be built.
    """
    denoiser = denoiser_folder(config)
    declared = dict.fromkeys(name.partition(".")[0] for name in outline_of(config, denoiser, label).shapes)
    models = [folder for folder in listed_components(config) if folder != denoiser and has_weights(config, folder)]
    return {
        component_name(denoiser): tuple(f"{denoiser}.{name}" for name in declared),
        **{component_name(folder): (folder,) for folder in models},
    }


def tensor_shapes(config: Mapping[str, Any], component: str, label: str) -> dict[str, tuple[int, ...]]:
    """The tensors that a component's files must have → shape, each tied one once. MergingError as `build_on_meta`."""
    outline = outline_of(config, component, label)
    return {f"{component}.{name}": shape for name, shape in outline.shapes.items() if name not in outline.tied}


@dataclass(frozen=True)
class Outline:
    """A component as its library builds it.

    shapes: name of each tensor of its state dict → shape, in the library's order. tied: those that others stand for.
    buffers: what is no parameter, in the files or not.
    """

    shapes: Mapping[str, tuple[int, ...]]
    tied: frozenset[str]
    buffers: frozenset[str]

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; from_json reads them back to an equal outline."""
        return {"shapes": dict(self.shapes), "tied": sorted(self.tied), "buffers": sorted(self.buffers)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outline:
        """Read what to_json wrote."""
        shapes = {name: tuple(shape) for name, shape in data["shapes"].items()}
        return cls(shapes, frozenset(data["tied"]), frozenset(data["buffers"]))


def outline_of(config: Mapping[str, Any], component: str, label: str) -> Outline:
    """The outline of a component. MergingError as `build_on_meta`."""
    return _outline(_about(config, component, label), _where(label, component))


def build_on_meta(config: Mapping[str, Any], component: str, label: str) -> nn.Module:
    """A component without weights, as its library builds it from its config. MergingError if it cannot."""
    return _build_component(_about(config, component, label), _where(label, component))


def _where(label: str, component: str) -> str:
    return f"{label}/{component}/config.json"


def _about(config: Mapping[str, Any], component: str, label: str) -> dict[str, Any]:
    """All that decides how a component is built."""
    library, class_name = listed_components(config)[component]
    values = config[COMPONENTS_KEY].get(component)
    if values is None:
        raise MergingError(f"{label}: its component {component} has no config.json")
    return {"library": library, "class": class_name, "config": values, "diffusers": diffusers_version()}


@cached_on_disk(Outline.to_json, Outline.from_json)
def _outline(about: Mapping[str, Any], where: str) -> Outline:
    model = _build_component(about, where)
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    shapes = {name: tuple(one.shape) for name, one in model.state_dict().items()}
    return Outline(shapes, frozenset(tied), frozenset(name for name, _ in model.named_buffers()))


def _build_component(about: Mapping[str, Any], where: str) -> nn.Module:
    library, class_name, values = str(about["library"]), str(about["class"]), about["config"]
    try:
        return _build(library, class_name, json.dumps(values, sort_keys=True))
    except _unbuildable() as error:
        reason = " ".join(str(error).split())[:300]
        raise MergingError(f"{where}: {library} cannot build this {class_name} ({reason})") from error


def find_lack(config: Mapping[str, Any]) -> str | None:
    """The reason why a pipeline's class cannot be built of the components that it lists; None if it can."""
    name = str(config["_class_name"])
    needed = _needed_components({"class": name, "diffusers": diffusers_version()}, name)
    lacking = sorted(set(needed) - listed_components(config).keys())
    return f"it lacks its component {lacking[0]}: {INDEX} does not list it" if lacking else None


@cached_on_disk(list, list)
def _needed_components(about: Mapping[str, Any], class_name: str) -> list[str]:  # noqa: ARG001 - asked about a class
    pipeline = component_class("diffusers", class_name)
    asked = inspect.signature(pipeline.__init__).parameters.items()
    needed = {name for name, one in asked if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD}
    return sorted(needed - {"self", *pipeline._optional_components})


def has_weights(config: Mapping[str, Any], folder: str) -> bool:
    """Whether a component is a model: it has a config that is not that of a scheduler."""
    values = config[COMPONENTS_KEY].get(folder)
    return values is not None and "Scheduler" not in str(values.get("_class_name"))


@lru_cache(maxsize=8)
def _build(library: str, class_name: str, config: str) -> nn.Module:
    """Kept because the pipelines of a pool have the same configs."""
    import torch
    from transformers.initialization import no_init_weights

    own, values = component_class(library, class_name), json.loads(config)
    with torch.device("meta"), no_init_weights():
        model = own(own.config_class.from_dict(values)) if hasattr(own, "config_class") else own.from_config(values)
    assert isinstance(model, torch.nn.Module)
    return model


@cached_on_disk(dict, dict)
def _names_in_memory(about: Mapping[str, Any], where: str) -> dict[str, str]:
    from merging.models.transformers_names import names_in_memory

    model: Any = _build_component(about, where)
    tied = model.all_tied_weights_keys
    return {name: tied.get(found, found) for name, found in names_in_memory(model, about["names"]).items()}


def _unbuildable() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import StrictDataclassError

    import_diffusers()
    return (*_UNBUILDABLE, StrictDataclassError)
