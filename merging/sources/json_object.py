"""JSON files of models: each must hold an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from merging.errors import MergingError


def parse_json_object(label: str, content: bytes) -> dict[str, Any]:
    """The object in a JSON file; MergingError for any other content. label: name of the file in errors."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MergingError(f"{label}: cannot be read as a JSON object ({error})") from error
    if not isinstance(found, dict):
        raise MergingError(f"{label}: cannot be read as a JSON object (it is a {type(found).__name__})")
    return found


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; MergingError if there is no such file, or it holds anything else."""
    try:
        return parse_json_object(str(path), path.read_bytes())
    except OSError as error:
        raise MergingError(f"{path}: cannot be read as a JSON object ({error})") from error
