"""A YAML file read with the line of every key, so that a fault can be shown where it stands.

Plain scalars follow YAML 1.2: only `true` and `false` are booleans (`mode: off` stays text), and there are no
dates and no octal or base-60 numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bot.errors import ShoalError

KeyPath = tuple[str | int, ...]

ABSENT = object()
"""Stands for a key that is not in the file, which is not the same as null."""

MAX_NODES, MAX_DEPTH = 100_000, 50
"""Of a file with aliases: a few lines of them can stand for gigabytes, or for themselves."""

MAX_BYTES = 2**20
"""A watchlist is written by hand: anything larger is another kind of file."""

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = ("", "~", "null", "Null", "NULL")
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class YamlFile:
    """What a file says (`data`: dicts, tuples, scalars); for each key path its line and its text."""

    name: str
    data: Any
    lines: Mapping[KeyPath, int]
    texts: Mapping[KeyPath, str]

    def line(self, path: KeyPath) -> int:
        """The line of the nearest key at or above `path`, from 1."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def value(self, path: KeyPath) -> Any:
        """What stands at `path`; None where nothing does."""
        value = self.data
        for part in path:
            value = child(value, part)
        return None if value is ABSENT else value


def child(data: Any, part: str | int) -> Any:
    """What stands under a key or an index of `data`; ABSENT where nothing does."""
    if isinstance(data, dict):
        return data.get(part, ABSENT)
    inside = isinstance(data, tuple) and isinstance(part, int) and part < len(data)
    return data[part] if inside else ABSENT


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    if node.style is not None:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


class _Reader:
    """Turns a document's node tree into data, and notes lines, texts and faults on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self.texts: dict[KeyPath, str] = {}
        self.faults: list[str] = []
        self.nodes = 0

    def document(self, node: yaml.Node) -> YamlFile:
        """What one document says; nodes and faults are counted over all of them."""
        self.lines, self.texts = {}, {}
        return YamlFile(self.name, self.read(node, ()), self.lines, self.texts)

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise ShoalError(f"{self.name}: its aliases stand for too much; write it out")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
            self.fault(node, path, node.tag, "is a YAML tag; remove it")
        if isinstance(node, yaml.MappingNode):
            return dict(self.entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.read(item, (*path, index)) for index, item in enumerate(node.value))
        assert isinstance(node, yaml.ScalarNode)
        self.texts[path] = str(node.value)
        return _scalar(node)

    def entries(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, Any]]:
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = (*path, key)
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, path, "a list or mapping", "keys are plain words; check the indentation")
            elif inner in self.lines:
                first = self.lines[inner]
                self.fault(key_node, inner, "it again", f"stands on line {first} already; keep one of the two")
            else:
                self.lines[inner] = key_node.start_mark.line + 1
                yield key, self.read(value_node, inner)

    def fault(self, node: yaml.Node, path: KeyPath, got: str, text: str) -> None:
        line = node.start_mark.line + 1
        self.faults.append(f"{self.name}:{line}: {dotted(path)}: got {got}: {text}")


def dotted(path: KeyPath) -> str:
    """`("skills", 0, "name")` as `skills[0].name`; the empty path as `file`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "file"


def _text_of(path: Path, kind: str) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ShoalError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if len(raw) > MAX_BYTES:
        raise ShoalError(f"{path}: is larger than {MAX_BYTES} bytes; this is no {kind}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ShoalError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _compose(text: str, name: str, kind: str, example: str, *, aliases: bool, several: bool) -> list[yaml.Node]:
    """The node tree of each document; a file without any counts as one that says nothing."""
    try:
        _check_events(text, name, aliases=aliases, several=several)
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader)) or [yaml.ScalarNode("", "")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ShoalError(f"{name}:{line}: not valid YAML: {error.problem or error.context}; mend it") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ShoalError(f"{name}:1: not valid YAML: {' '.join(str(error).split())}; mend it") from error
    for node in nodes:
        if not isinstance(node, yaml.MappingNode):
            line = node.start_mark.line + 1 if node.start_mark else 1
            raise ShoalError(f"{name}:{line}: got no `key: value` lines: not a {kind}; start from {example}")
    return nodes


def _check_events(text: str, name: str, *, aliases: bool, several: bool) -> None:
    documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) and not aliases:
            raise ShoalError(f"{name}:{line}: got *{event.anchor}: YAML aliases are not read; write it out")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1 and not several:
            raise ShoalError(f"{name}:{line}: got a second document: write one in a file")


def read_yaml(path: Path) -> YamlFile:
    """Read one watchlist: a YAML file whose top level is a mapping.

    Raises:
        ShoalError: unreadable, not UTF-8, not YAML, or a key twice: one line for each fault.
    """
    [file] = _read(path, "watchlist", "watchlists/demo.yml", aliases=False, several=False)
    return file


def read_documents(path: Path, kind: str, example: str) -> tuple[YamlFile, ...]:
    """Read each document of a YAML file as `read_yaml` does; here aliases are read too.

    kind, example: what errors call such a file, and where they send a person for one.
    """
    return _read(path, kind, example, aliases=True, several=True)


def _read(path: Path, kind: str, example: str, *, aliases: bool, several: bool) -> tuple[YamlFile, ...]:
    name = str(path)
    nodes = _compose(_text_of(path, kind), name, kind, example, aliases=aliases, several=several)
    reader = _Reader(name)
    documents = tuple(map(reader.document, nodes))
    if reader.faults:
        raise ShoalError("\n".join(reader.faults))
    return documents
