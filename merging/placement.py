"""Where each checkpoint tensor belongs in the transformers model: an explicit map, or a refusal by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.core_model_loading import revert_weight_conversion
from transformers.initialization import no_init_weights

from merging.checkpoint import Checkpoint
from merging.errors import MergingError
from merging.family import MERGEABLE_DTYPES
from merging.merge import TORCH_DTYPES
from merging.recipe import SourceRef

_UNBUILDABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    ArithmeticError,
    StrictDataclassError,
)
"""What transformers is seen to raise of a config with values that fit no model."""


def empty_model(folder: Path, dtype: str, device: str) -> Any:
    """A causal language model built from a folder's config.json, its weights not set; none of its code runs.

    On device "meta" it takes no memory. MergingError if transformers cannot build it.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        with torch.device(device), no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=TORCH_DTYPES[dtype], trust_remote_code=False)
        model.tie_weights()  # skipped along with the initial values
        return model
    except _UNBUILDABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise MergingError(f"{folder / 'config.json'}: transformers cannot build this model ({reason})") from error


def stored_weights(model: Any) -> dict[str, Tensor]:
    """The model's weights by the names under which its files hold them; writing to one writes to the model.

    A weight that transformers fuses at load, as the experts of a mixture, comes apart: each part is a view. Tied
    weights are the same tensor under several names. MergingError for a family whose values are rearranged at load,
    so that no view shows them as the files have them.
    """
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    found = _as_saved(model, state)
    owned = {id(weight) for weight in state.values()}
    for name, weight in found.items():
        if id(weight) not in owned and id(weight._base) not in owned:
            raise MergingError(f"{type(model).__name__}: transformers rearranges {name} at load: it cannot be merged")
    return found


def tied_names(model: Any) -> frozenset[str]:
    """Those names in `stored_weights` that are tied to another one."""
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    return frozenset(_as_saved(model, {name: state[name] for name in model.all_tied_weights_keys}))


def places(model: Any, checkpoints: Mapping[SourceRef, Checkpoint]) -> Mapping[str, str]:
    """Checkpoint tensor name → the weight's name in `stored_weights`, each once; all checkpoints must agree.

    A checkpoint may have been saved from the model without its head (names lack the model's base prefix), may
    hold a tied weight twice with equal values, and may hold buffers that transformers itself ignores.
    Whatever else does not fit, in either direction, raises MergingError naming checkpoint and tensor.
    """
    weights = stored_weights(model)
    tied = tied_names(model)
    found = [(checkpoint, _places(model, weights, tied, checkpoint)) for checkpoint in checkpoints.values()]
    if not found:
        raise MergingError("checkpoints: got none: at least one is needed")
    first, agreed = found[0]
    for checkpoint, others in found[1:]:
        if others != agreed:
            odd = min(set(others.items()) ^ set(agreed.items()))[0]
            raise MergingError(f"{checkpoint.folder}: tensor {odd} is not stored as in {first.folder}")
    return agreed


class _WithoutCopies(TorchFunctionMode):
    """Parts of a tensor stay views of it, where transformers would have copies to write to a file."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        return arguments[0] if function is Tensor.contiguous else function(*arguments, **(named or {}))


def _as_saved(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Some of the state dict's weights, named and taken apart as `save_pretrained` does it."""
    with _WithoutCopies():
        found: dict[str, Tensor] = revert_weight_conversion(model, dict(state))
    return found


def _places(model: Any, weights: Mapping[str, Tensor], tied: Collection[str], checkpoint: Checkpoint) -> dict[str, str]:
    found = _known(model, weights, checkpoint)
    taken: dict[int, str] = {}
    # Of a tied weight that is stored twice, the name that the others are tied to stands for all.
    for name in sorted(found, key=lambda name: found[name] in tied):
        weight = weights[found[name]]
        _check_header(checkpoint, name, weight)
        twin = taken.setdefault(id(weight), name)
        if twin != name and not torch.equal(checkpoint.tensor(name), checkpoint.tensor(twin)):
            raise MergingError(f"{checkpoint.folder}: {name} and {twin} are tied, yet their values differ")
    for place, weight in weights.items():
        if id(weight) not in taken:
            raise MergingError(f"{checkpoint.folder}: the model's {place} is missing from the checkpoint")
    return {name: found[name] for name in sorted(taken.values())}


def _known(model: Any, weights: Mapping[str, Tensor], checkpoint: Checkpoint) -> dict[str, str]:
    """Each tensor's name among the weights, without the tensors that transformers passes over."""
    ignored = _ignored(model)
    found = {}
    for name in checkpoint.names:
        place = name if name in weights else f"{model.base_model_prefix}.{name}"
        if place in weights:
            found[name] = place
        elif ignored is None or not ignored.search(name):
            raise MergingError(f"{checkpoint.folder}: tensor {name} has no place in {type(model).__name__}")
    return found


def _check_header(checkpoint: Checkpoint, name: str, weight: Tensor) -> None:
    header = checkpoint.header(name)
    if header.dtype not in MERGEABLE_DTYPES or not weight.is_floating_point():
        raise MergingError(f"{checkpoint.folder}: tensor {name} is of dtype {header.dtype}, which cannot be merged")
    if header.shape != tuple(weight.shape):
        expected = list(weight.shape)
        raise MergingError(f"{checkpoint.folder}: tensor {name} is {list(header.shape)}, the config says {expected}")


def _ignored(model: Any) -> re.Pattern[str] | None:
    """Names that transformers itself passes over at load: buffers of older versions that it computes now."""
    patterns = set(model._keys_to_ignore_on_load_unexpected or ())
    if any(name.endswith("rotary_emb.inv_freq") for name, _ in model.named_buffers()):
        patterns.add(r"rotary_emb\.inv_freq")
    return re.compile("|".join(f"(?:{pattern})" for pattern in sorted(patterns))) if patterns else None
