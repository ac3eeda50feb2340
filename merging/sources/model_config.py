"""The config of a model: its config.json, or a pipeline's model_index.json with the configs of its components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from merging.pipelines.index import COMPONENTS_KEY, INDEX, listed_components
from merging.sources.json_object import read_json_object

COMPONENT_CONFIGS = ("config.json", "scheduler_config.json")
"""The config of a component is the first of these files that its folder has."""


def read_model_config(folder: Path) -> dict[str, Any]:
    """The config of the model in a folder; MergingError for a file that is missing, or no JSON object.

    That of a pipeline is its model_index.json, with the configs of its components by folder under `COMPONENTS_KEY`.
    """
    if not (folder / INDEX).is_file():
        return read_json_object(folder / "config.json")
    index = read_json_object(folder / INDEX)
    paths = {
        component: folder / component / name
        for component in listed_components(index)
        if component.isidentifier()  # others are refused, and may lie outside the folder
        for name in reversed(COMPONENT_CONFIGS)
        if (folder / component / name).is_file()
    }
    return {**index, COMPONENTS_KEY: {component: read_json_object(path) for component, path in paths.items()}}
