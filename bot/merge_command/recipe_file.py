"""The YAML of a merge as a file: read with its lines, told what is wrong with it, written out with pinned models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.merge_command.stages import Stage, Stages, read_stages
from bot.watchlist.yaml_file import read_documents
from merging.mergekit.config import KeyPath, MergeConfig, ModelName

_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)+")

KIND, EXAMPLE = "merge recipe", "`merge_method:` and `models:`"


@dataclass(frozen=True)
class RecipeFile:
    """A merge, the stages that lead to it, and where the file lies that describes them."""

    path: Path
    stages: Stages

    @property
    def config(self) -> MergeConfig:
        """The merge whose result is wanted."""
        return self.stages.result.config

    def pinned(self, names: Mapping[ModelName, str]) -> str:
        """The file's text with other names for these models and adapters, and every other character as it was."""
        text = self.path.read_text(encoding="utf-8-sig")
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        spans: set[tuple[int, int, str]] = set()  # an alias stands where its anchor does
        for stage in self.stages.ordered:
            spans |= _spans(text, roots[stage.position], stage, names)
        for start, end, name in sorted(spans, reverse=True):
            text = text[:start] + _rewritten(text[start:end], name) + text[end:]
        return text


def read_recipe_file(path: Path) -> RecipeFile:
    """Read and check a merge's YAML.

    Raises:
        ShoalError: everything that is wrong with it, a line each.
    """
    return RecipeFile(path, read_stages(read_documents(path, KIND, EXAMPLE)))


def _spans(text: str, root: yaml.Node, stage: Stage, names: Mapping[ModelName, str]) -> set[tuple[int, int, str]]:
    """Where a stage's document names models, and what is to stand there."""
    spans: set[tuple[int, int, str]] = set()
    for path, model in stage.config.mentions:
        parts = [names.get(part, str(part)) for part in (model.plain, model.adapter) if part is not None]
        node = _node_at(root, path)
        if isinstance(node, yaml.MappingNode):
            pairs = [(_node_at(node, (key,)), part) for key, part in zip(("model", "lora"), parts, strict=False)]
        else:
            pairs = [(node, "+".join(parts))]
        spans |= {(*_span(text, scalar), name) for scalar, name in pairs}
    return spans


def _rewritten(written: str, name: str) -> str:
    """A name where another one is written: in quotes where that is, and as it is where that is the same."""
    if yaml.safe_load(written) == name:
        return written
    end = written[len(written.rstrip()) :]  # of a block, the line's
    if written[0] == "'":
        return "'" + name.replace("'", "''") + "'" + end
    return (json.dumps(name, ensure_ascii=False) if written[0] in '"|>' else name) + end


def _span(text: str, scalar: yaml.Node) -> tuple[int, int]:
    """Where a scalar begins and ends, without the anchor that may stand before it."""
    start, end = scalar.start_mark.index, scalar.end_mark.index
    properties = _PROPERTIES.match(text, start, end)
    return (properties.end() if properties else start), end


def _node_at(node: Any, path: KeyPath) -> yaml.Node:
    for part in path:
        if isinstance(node, yaml.MappingNode):
            node = next(value for key, value in node.value if key.value == part)
        else:
            node = node.value[part]
    found: yaml.Node = node
    return found
