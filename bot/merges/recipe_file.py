"""The YAML of a merge as a file: read with its lines, told what is wrong with it, written out with pinned models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.errors import ShoalError
from bot.watchlist.yaml_file import YamlFile, read_yaml
from merging.mergekit_config import ConfigFaults, Fault, KeyPath, MergeConfig, ModelName

_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)+")

KIND, EXAMPLE = "merge recipe", "`merge_method:` and `models:`"


@dataclass(frozen=True)
class RecipeFile:
    """A merge, the file that describes it, and where that file lies."""

    path: Path
    file: YamlFile
    config: MergeConfig

    def told(self, faults: Iterable[Fault]) -> ShoalError:
        """The faults as lines with the file's name and line, in the file's order."""
        lines = sorted({(self.file.line(fault.path), f"{fault}") for fault in faults})
        return ShoalError("\n".join(f"{self.file.name}:{line}: {text}" for line, text in lines))

    def of_models(self, reasons: Mapping[ModelName, str]) -> list[Fault]:
        """Why models cannot be merged, as faults at the place where each is named first."""
        places: dict[ModelName, KeyPath] = {}
        for path, model in self.config.mentions:
            places.setdefault(model, path)
        return [Fault(places[model], str(model), reason) for model, reason in reasons.items()]

    def pinned(self, names: Mapping[ModelName, str]) -> str:
        """The file's text with other names for these models and adapters, and every other character as it was."""
        text = self.path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        spans: set[tuple[int, int, str]] = set()  # an alias stands where its anchor does
        for path, model in self.config.mentions:
            parts = [names.get(part, str(part)) for part in (model.plain, model.adapter) if part is not None]
            node = _node_at(root, path)
            if isinstance(node, yaml.MappingNode):
                pairs = [(_node_at(node, (key,)), part) for key, part in zip(("model", "lora"), parts, strict=False)]
            else:
                pairs = [(node, "+".join(parts))]
            spans |= {(*_span(text, scalar), name) for scalar, name in pairs}
        for start, end, name in sorted(spans, reverse=True):
            text = text[:start] + _rewritten(text[start:end], name) + text[end:]
        return text


def read_recipe(path: Path) -> RecipeFile:
    """Read and check a merge's YAML.

    Raises:
        ShoalError: everything that is wrong with it, a line each.
    """
    from merging.mergekit_reader import read_config

    file = read_yaml(path, KIND, EXAMPLE, aliases=True)
    try:
        return RecipeFile(path, file, read_config(file.data))
    except ConfigFaults as error:
        faults = sorted({(file.line(fault.path), str(fault)) for fault in error.faults})
        raise ShoalError("\n".join(f"{file.name}:{line}: {text}" for line, text in faults)) from error


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
