"""Where each checkpoint tensor belongs in the transformers model: an explicit map, or a refusal by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
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


def places(model: Any, checkpoints: Mapping[SourceRef, Checkpoint]) -> Mapping[str, str]:
    """Checkpoint tensor name → the model's state-dict name, each weight once; all checkpoints must agree.

    A checkpoint may have been saved from the model without its head (names lack the model's base prefix), may
    hold a tied weight twice with equal values, and may hold buffers that transformers itself ignores.
    Whatever else does not fit, in either direction, raises MergingError naming checkpoint and tensor.
    """
    found = [(checkpoint, _places(model, checkpoint)) for checkpoint in checkpoints.values()]
    if not found:
        raise MergingError("checkpoints: got none: at least one is needed")
    first, agreed = found[0]
    for checkpoint, others in found[1:]:
        if others != agreed:
            odd = min(set(others.items()) ^ set(agreed.items()))[0]
            raise MergingError(f"{checkpoint.folder}: tensor {odd} is not stored as in {first.folder}")
    return agreed


def _places(model: Any, checkpoint: Checkpoint) -> dict[str, str]:
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    found = _known(model, state, checkpoint)
    taken: dict[int, str] = {}
    # Of a tied weight that is stored twice, the name that the others are tied to stands for all.
    for name in sorted(found, key=lambda name: found[name] in model.all_tied_weights_keys):
        weight = state[found[name]]
        _check_header(checkpoint, name, weight)
        twin = taken.setdefault(id(weight), name)
        if twin != name and not torch.equal(checkpoint.tensor(name), checkpoint.tensor(twin)):
            raise MergingError(f"{checkpoint.folder}: {name} and {twin} are tied, yet their values differ")
    for place, weight in state.items():
        if id(weight) not in taken:
            raise MergingError(f"{checkpoint.folder}: the model's {place} is missing from the checkpoint")
    return {name: found[name] for name in sorted(taken.values())}


def _known(model: Any, state: Mapping[str, Tensor], checkpoint: Checkpoint) -> dict[str, str]:
    """Each tensor's state-dict name, without the tensors that transformers passes over."""
    ignored = _ignored(model)
    found = {}
    for name in checkpoint.names:
        place = name if name in state else f"{model.base_model_prefix}.{name}"
        if place in state:
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
