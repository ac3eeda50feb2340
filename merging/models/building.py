"""Models as transformers builds them from a config: with empty weights, or as a schema alone."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from merging.dtypes import torch_dtype
from merging.errors import MergingError
from merging.kinds import kind_of
from merging.kinds.transformers_kind import TransformersKind
from merging.models.components import language_paths
from merging.models.schema import ModelSchema
from merging.models.traits import read_traits
from merging.models.transformers_cache import cached_on_disk

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


_POSITIONS = "embeddings.position_ids"
"""A buffer that counts from 0, which older versions of transformers saved with vision towers."""


def build_empty_model(folder: Path, dtype: str, device: str) -> PreTrainedModel:
    """Build the model of a folder's config.json by its kind, with weights that are not set; none of its code runs.

    On device "meta" it takes no memory. MergingError if transformers cannot build it, or if it is of no kind.
    """
    from transformers import AutoConfig
    from transformers.initialization import no_init_weights

    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        kind = _transformers_kind(config.to_dict())
        with torch.device(device), no_init_weights():
            model = kind.build(config, torch_dtype(dtype))
        # A config that names no architecture may still be that of a model with a vision tower, or the like.
        if refusal := kind.find_refusal({"architectures": [type(model).__name__]}):
            raise MergingError(refusal)
        model.tie_weights()  # skipped along with the initial values
        return model
    except MergingError as error:
        raise MergingError(f"{folder / 'config.json'}: {error}") from error
    except _unbuildable() as error:
        reason = " ".join(str(error).split())[:300]
        raise MergingError(f"{folder / 'config.json'}: transformers cannot build this model ({reason})") from error


def build_from_config(
    config: Mapping[str, object], label: str, dtype: str = "float32", device: str = "meta"
) -> PreTrainedModel:
    """Build the model of a config as `build_empty_model` does. label: name of the config in errors."""
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        try:
            return build_empty_model(Path(folder), dtype, device)
        except MergingError as error:
            raise MergingError(str(error).replace(folder, label)) from error


@cached_on_disk(ModelSchema.as_json, ModelSchema.from_json)
def build_schema(config: Mapping[str, object], label: str) -> ModelSchema:
    """The schema of a config's model. label: name of the config in errors. MergingError if it cannot be built."""
    return read_schema(build_from_config(config, label))


def read_schema(model: PreTrainedModel) -> ModelSchema:
    """The schema of a model that is built; MergingError as `stored_weights` raises it."""
    weights, tied = stored_weights(model), _tied_names(model)
    firsts: dict[int, str] = {}
    for name in sorted(weights, key=lambda name: (name in tied, name)):
        firsts.setdefault(id(weights[name]), name)
    return ModelSchema(
        architecture=type(model).__name__,
        prefix=model.base_model_prefix,
        shapes={name: tuple(weight.shape) for name, weight in weights.items()},
        fixed=frozenset(name for name, weight in weights.items() if not weight.is_floating_point()),
        tied={name: firsts[id(weight)] for name, weight in weights.items() if firsts[id(weight)] != name},
        vocabulary=_vocabulary(model, weights),
        ignored=_ignored(model),
        traits=read_traits(model),
        language=language_paths(model),
        components=_kind_of_model(model).components(model),
    )


def stored_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The model's weights by the names that merges have for them; writing to one writes to the model.

    Its kind decides on the names: those of its files, where weights that transformers fuses at load, such as experts,
    are taken apart again (each part is a view), or those in memory. Tied weights are one tensor under several names.
    MergingError for a family whose values transformers rearranges at load, so that no view has them in the order of the
    files.
    """
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    found = _kind_of_model(model).name_tensors(model, state)
    owned = {id(weight) for weight in state.values()}
    for name, weight in found.items():
        if id(weight) not in owned and id(weight._base) not in owned:
            raise MergingError(f"{type(model).__name__}: transformers rearranges {name} at load: it cannot be merged")
    return found


def _tied_names(model: PreTrainedModel) -> frozenset[str]:
    """The names in `stored_weights` of weights that are tied to another one."""
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    tied = {name: state[name] for name in model.all_tied_weights_keys}
    return frozenset(_kind_of_model(model).name_tensors(model, tied))


def _kind_of_model(model: PreTrainedModel) -> TransformersKind:
    return _transformers_kind({"architectures": [type(model).__name__]})


def _transformers_kind(config: Mapping[str, object]) -> TransformersKind:
    kind = kind_of(config)
    if not isinstance(kind, TransformersKind):
        raise MergingError(f"it is of the kind {kind.name}, which transformers does not build from one config")
    return kind


def _vocabulary(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> frozenset[str]:
    """The names of the embeddings, and of the head with its bias."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    wanted = {id(weight) for end in ends if end is not None for weight in end.parameters(recurse=False)}
    return frozenset(name for name, weight in weights.items() if id(weight) in wanted)


def _ignored(model: PreTrainedModel) -> str | None:
    """A pattern of names that transformers ignores at load: buffers of its older versions, which it computes now."""
    patterns = set(model._keys_to_ignore_on_load_unexpected or ())
    buffers = [name for name, _ in model.named_buffers()]
    if any(name.endswith("rotary_emb.inv_freq") for name in buffers):
        patterns.add(r"rotary_emb\.inv_freq")
    patterns |= {rf"{re.escape(name)}$" for name in buffers if name.endswith(_POSITIONS)}
    return "|".join(f"(?:{pattern})" for pattern in sorted(patterns)) or None


def _unbuildable() -> tuple[type[Exception], ...]:
    """The errors that transformers was seen to raise for a config with values that fit no model."""
    from huggingface_hub.errors import StrictDataclassError

    wrong_values = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, ArithmeticError)
    return (*wrong_values, StrictDataclassError)
