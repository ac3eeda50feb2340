"""The names of files with pickled weights, as transformers and peft wrote them, and of what they are converted to."""

from __future__ import annotations

import re

PICKLE_INDEX = "pytorch_model.bin.index.json"
SINGLE_PICKLE = "pytorch_model.bin"
PICKLED_ADAPTER = "adapter_model.bin"

_PICKLE = re.compile(r"pytorch_model(-[0-9]+-of-[0-9]+)?\.bin")


def is_pickle(name: str) -> bool:
    """Whether a file name is that of a model's pickled weights, whole or a shard."""
    return _PICKLE.fullmatch(name) is not None


def converted_name(pickle: str) -> str:
    """The name of the safetensors file that a pickle is converted to."""
    return f"{pickle.removeprefix('pytorch_').removesuffix('.bin')}.safetensors"
