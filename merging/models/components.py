"""The components of a model, found by asking transformers: language model, vision tower, and what is between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from merging.errors import MergingError
from merging.kinds.kind import LANGUAGE, PROJECTOR, VISION_TOWER, Components
from merging.models.transformers_cache import cached_on_disk
from merging.partition import is_within

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def components_from_json(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Components as JSON has them: with lists."""
    return {name: tuple(paths) for name, paths in values.items()}


@cached_on_disk(dict, components_from_json)
def read_components(config: Mapping[str, object], label: str) -> dict[str, tuple[str, ...]]:
    """The components of a config's model; none for a language model. label: name of the config in errors.

    MergingError if the model cannot be built, or if its parts cannot be told apart.
    """
    from merging.kinds import kind_of

    return dict(kind_of(config).find_components(config, label))


def language_paths(model: PreTrainedModel) -> tuple[str, ...]:
    """The paths of a model's decoder and of its head, as far as it has them as modules of their own."""
    found = [_path_of(model, module) for module in (model.get_decoder(), model.get_output_embeddings())]
    return tuple(path for path in found if path)


def vision_components(model: PreTrainedModel) -> dict[str, tuple[str, ...]]:
    """The components of a vision-language model. What is neither language model nor vision tower is the projector.

    Some families have their projector inside the vision tower: it is a part of that. MergingError for a model whose
    decoder and vision tower are not modules of their own.
    """
    language, tower = language_paths(model), _path_of(model, model.get_encoder(modality="image"))
    apart = tower and len(language) == 2 and not any(_overlap(tower, path) for path in language)
    if not apart:
        raise MergingError(f"{type(model).__name__}: its language model and its vision tower cannot be told apart")
    found = {LANGUAGE: language, VISION_TOWER: (tower,)}
    rest = dict.fromkeys(
        _outermost(name, (*language, tower)) for name in model.state_dict() if component_of(found, name) is None
    )
    return found | ({PROJECTOR: tuple(rest)} if rest else {})


def component_of(components: Components, tensor_name: str) -> str | None:
    """The component that a tensor belongs to; None if it is in none."""
    return next((name for name, paths in components.items() if is_within(tensor_name, paths)), None)


def lacked_components(components: Components, tensor_names: Iterable[str]) -> tuple[str, ...]:
    """The components of which there is no tensor among these."""
    seen = {component_of(components, name) for name in tensor_names}
    return tuple(name for name in components if name not in seen)


def language_names(tensor_names: Iterable[str], components: Components) -> tuple[str, ...]:
    """Those of some tensors that are of the language model: all, where a model has no components."""
    return tuple(name for name in tensor_names if not components or component_of(components, name) == LANGUAGE)


def _path_of(model: PreTrainedModel, module: torch.nn.Module | None) -> str:
    return next((name for name, one in model.named_modules() if one is module), "")


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _outermost(tensor_name: str, others: Iterable[str]) -> str:
    """The path of the outermost module that holds a tensor and none of the others; the tensor's name if none does."""
    parts = tensor_name.split(".")
    paths = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return next(path for path in paths if not any(_overlap(path, other) for other in others))
