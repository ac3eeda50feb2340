"""The names that merges have for a pipeline's tensors: the component's folder, then the name in memory."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from merging.errors import MergingError
from merging.pipelines.diffusers_classes import component_class, import_diffusers
from merging.pipelines.index import COMPONENTS_KEY, component_name, denoiser_folder, listed_components

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
            renamed = _names_in_memory(build_on_meta(config, component, label), own)
        found |= {f"{component}.{name}": f"{component}.{renamed[name]}" for name in own}
    return found


def pipeline_components(config: Mapping[str, Any], label: str) -> dict[str, tuple[str, ...]]:
    """Component → its paths: of the denoiser all that it declares at its top level, in order; of others the folder.

    The denoiser is first. label: name of the config in errors. MergingError if the denoiser cannot be built.
    """
    denoiser = denoiser_folder(config)
    declared = dict.fromkeys(name.partition(".")[0] for name in build_on_meta(config, denoiser, label).state_dict())
    models = [folder for folder in listed_components(config) if folder != denoiser and has_weights(config, folder)]
    return {
        component_name(denoiser): tuple(f"{denoiser}.{name}" for name in declared),
        **{component_name(folder): (folder,) for folder in models},
    }


def tensor_shapes(config: Mapping[str, Any], component: str, label: str) -> dict[str, tuple[int, ...]]:
    """The tensors that a component's files must have → shape, each tied one once. MergingError as `build_on_meta`."""
    model = build_on_meta(config, component, label)
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {f"{component}.{name}": tuple(one.shape) for name, one in model.state_dict().items() if name not in tied}


def build_on_meta(config: Mapping[str, Any], component: str, label: str) -> nn.Module:
    """A component without weights, as its library builds it from its config. MergingError if it cannot."""
    library, class_name = listed_components(config)[component]
    values = config[COMPONENTS_KEY].get(component)
    if values is None:
        raise MergingError(f"{label}: its component {component} has no config.json")
    try:
        return _build(library, class_name, json.dumps(values, sort_keys=True))
    except _unbuildable() as error:
        reason = " ".join(str(error).split())[:300]
        where = f"{label}/{component}/config.json"
        raise MergingError(f"{where}: {library} cannot build this {class_name} ({reason})") from error


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


def _names_in_memory(model: Any, names: Iterable[str]) -> dict[str, str]:
    from merging.models.transformers_names import names_in_memory

    tied = model.all_tied_weights_keys
    return {name: tied.get(found, found) for name, found in names_in_memory(model, names).items()}


def _unbuildable() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import StrictDataclassError

    import_diffusers()
    return (*_UNBUILDABLE, StrictDataclassError)
