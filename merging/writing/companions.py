"""The files of a model next to its weights and its config.json."""

from __future__ import annotations

from pathlib import Path

from merging.kinds import kind_of
from merging.sources.model_config import read_model_config

RECIPE_NAME = "mergekit_config.yml"
"""The recipe beside the weights of a release."""


def read_companions(folder: Path) -> dict[str, bytes]:
    """The contents of a model's companion files, by path, as its kind lists them."""
    listed = [file.path for file in kind_of(read_model_config(folder)).files]
    return {path: (folder / path).read_bytes() for path in listed if (folder / path).is_file()}
