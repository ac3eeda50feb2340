"""The headers of files under the names that merges have for their tensors, before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from merging.kinds import kind_of
from merging.sources.adapter_plan import base_tensor
from merging.sources.family import TensorHeader


def name_headers(
    config: Mapping[str, object], headers: Mapping[str, TensorHeader], label: str
) -> dict[str, TensorHeader]:
    """The headers of a model that is not on this machine, by the names that merges have for its tensors.

    config: the model's. label: name of the model in errors. MergingError if transformers cannot build the model.
    """
    names = kind_of(config).name_stored(config, label, headers)
    return {names[name]: replace(header, name=names[name]) for name, header in headers.items()}


def name_adapter_headers(
    config: Mapping[str, object], headers: Mapping[str, TensorHeader], label: str
) -> dict[str, TensorHeader]:
    """An adapter's headers by the names that they have beside the names in merges of its base's tensors.

    An adapter has the names of the version of transformers with which it was trained. config: the base's. Headers keep
    the names in the file. label: name of the base in errors. MergingError if transformers cannot build the base.
    """
    names = {key: base_tensor(key) for key in headers}
    named = kind_of(config).name_stored(config, label, set(names.values()))
    return {key.replace(_module(names[key]), _module(named[names[key]])): header for key, header in headers.items()}


def _module(tensor_name: str) -> str:
    return tensor_name.removesuffix(".weight")
