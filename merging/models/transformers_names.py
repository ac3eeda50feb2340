"""The names that transformers has for a model's tensors: in its files, and in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from merging.errors import MergingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _WithoutCopies(TorchFunctionMode):
    """Keeps parts of a tensor views of it: transformers copies them, because it means to write them to a file."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Mapping[str, object] | None = None
    ) -> Any:
        return arguments[0] if function is Tensor.contiguous else function(*arguments, **(named or {}))


def as_saved(model: PreTrainedModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the state dict, renamed and taken apart as `save_pretrained` would write them; parts are views."""
    from transformers.core_model_loading import revert_weight_conversion

    with _WithoutCopies():
        found: dict[str, Tensor] = revert_weight_conversion(model, dict(state))
    return found


def memory_names(config: Mapping[str, object], label: str, names: Iterable[str]) -> dict[str, str]:
    """Name of a tensor in a model's files → its name in the state dict of the model that the config describes.

    Files of several versions of transformers name one tensor differently, and all of these names are known to its own
    conversion at load, which is asked here. A name that means nothing to it stays as it is. label: name of the config
    in errors. MergingError if the model cannot be built.
    """
    try:
        model = _model_of(json.dumps(config, sort_keys=True))
    except MergingError as error:
        raise MergingError(str(error).replace(_LABEL, label, 1)) from error
    return names_in_memory(model, names)


def names_in_memory(model: PreTrainedModel, names: Iterable[str]) -> dict[str, str]:
    """Name of a tensor in a model's files → its name in the model's state dict, as `memory_names` has them."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, dot_natural_key, rename_source_key

    # Built anew for each model: some rules remember what they have seen.
    renamings = [rule for rule in get_model_conversion_mapping(model) if isinstance(rule, WeightRenaming)]
    prefix, state = model.base_model_prefix, model.state_dict()
    ordered = sorted(names, key=dot_natural_key)
    return {name: rename_source_key(name, renamings, [], prefix, state)[0] for name in ordered}


_LABEL = "the model's folder"


@lru_cache(maxsize=4)
def _model_of(config: str) -> PreTrainedModel:
    """A model without weights, kept because the models of a pool have the same config but for a few keys."""
    from merging.models.building import build_from_config

    return build_from_config(json.loads(config), _LABEL)
