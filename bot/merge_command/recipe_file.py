"""The YAML of a merge as a file: read with its lines, and written again with the commits of its models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.hub.resolver import Resolver
from bot.merge_command.stages import Stage, Stages, merge_in, read_stages
from bot.watchlist.yaml_file import is_merge_key, merge_sources, read_documents
from merging.identity import ModelId
from merging.mergekit.config import KeyPath, MergeConfig
from merging.mergekit.reader import named_models

_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)+")

KIND, EXAMPLE = "merge recipe", "`merge_method:` and `models:`"


@dataclass(frozen=True)
class RecipeFile:
    """A merge, and the stages that lead to it."""

    path: Path
    stages: Stages

    @property
    def config(self) -> MergeConfig:
        """The merge whose result is wanted."""
        return self.stages.result.config

    def with_names(self, names: Mapping[ModelId, str]) -> str:
        """The file's text with other names for these models and adapters, by how they are written there.

        Every other character stays as it is.
        """
        text = self.path.read_text(encoding="utf-8-sig")
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        spans: set[tuple[int, int, str]] = set()  # a YAML alias has the span of its anchor
        for stage in self.stages.ordered:
            spans |= _spans(text, roots[stage.position], stage, names)
        for start, end, name in sorted(spans, reverse=True):
            text = text[:start] + _rewrite_name(text[start:end], name) + text[end:]
        return text


def read_recipe_file(path: Path, resolver: Resolver) -> RecipeFile:
    """Read and check a merge's YAML; a model that it writes in several ways is one model, by its first name.

    Raises:
        ShoalError: everything that is wrong with it, a line each.
    """
    documents = read_documents(path, KIND, EXAMPLE)
    stages = [document.data.get("name") for document in documents]
    named = dict.fromkeys(model for document in documents for model in named_models(merge_in(document)))
    spellings = resolver.find_spellings(model for model in named if model.location not in stages)
    return RecipeFile(path, read_stages(documents, spellings))


def _spans(text: str, root: yaml.Node, stage: Stage, names: Mapping[ModelId, str]) -> set[tuple[int, int, str]]:
    """(start, end, new name) of each name of a model in a stage's document."""
    spans: set[tuple[int, int, str]] = set()
    for mention in stage.config.mentions:
        written = (mention.written.plain, mention.written.adapter)
        parts = [names.get(part, str(part)) for part in written if part is not None]
        node = _node_at(root, mention.path)
        if isinstance(node, yaml.MappingNode):
            pairs = [(_node_at(node, (key,)), part) for key, part in zip(("model", "lora"), parts, strict=False)]
        else:
            pairs = [(node, "+".join(parts))]
        spans |= {(*_span(text, scalar), name) for scalar, name in pairs}
    return spans


def _rewrite_name(written: str, name: str) -> str:
    """A name in place of a written one: quoted if that is quoted, unchanged if it means the same."""
    if yaml.safe_load(written) == name:
        return written
    end = written[len(written.rstrip()) :]  # the span of a block scalar includes the end of its line
    if written[0] == "'":
        return "'" + name.replace("'", "''") + "'" + end
    return (json.dumps(name, ensure_ascii=False) if written[0] in '"|>' else name) + end


def _span(text: str, scalar: yaml.Node) -> tuple[int, int]:
    """Start and end of a scalar, without an anchor or a tag in front of it."""
    start, end = scalar.start_mark.index, scalar.end_mark.index
    properties = _PROPERTIES.match(text, start, end)
    return (properties.end() if properties else start), end


def _node_at(node: Any, path: KeyPath) -> yaml.Node:
    for part in path:
        node = _value_of(node, str(part)) if isinstance(node, yaml.MappingNode) else node.value[part]
    found: yaml.Node = node
    return found


def _value_of(node: yaml.MappingNode, key: str) -> Any:
    """The node of a key's value, in the mapping itself or in one that it takes over by `<<`; None without one."""
    for key_node, value in node.value:
        if not is_merge_key(key_node) and key_node.value == key:
            return value
    sources = (source for key_node, value in node.value if is_merge_key(key_node) for source in merge_sources(value))
    found = (_value_of(source, key) for source in sources if isinstance(source, yaml.MappingNode))
    return next(filter(None, found), None)
