"""Reads a YAML file with the line of every key, so that an error can name the line.

Plain scalars follow YAML 1.2: only `true` and `false` are booleans (`mode: off` stays text), and there are no
dates and no octal or base-60 numbers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import yaml

from bot.errors import ShoalError
from merging.mergekit.config import KeyPath, dotted

ABSENT = object()
"""Marks a key that is not in the file, as opposed to null."""

MAX_NODES, MAX_DEPTH = 100_000, 50
"""Limits for a file with aliases, a few lines of which can expand to gigabytes, or contain themselves."""

MAX_BYTES = 2**20
"""A file written by hand is smaller."""

STDIN = Path("-")
"""Stands for standard input."""

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = ("", "~", "null", "Null", "NULL")
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, from an escape such as "\\ud83d"; it cannot be written to a file or a database."""
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class YamlFile:
    """The content of a file (`data`: dicts, tuples, scalars), and for each key path its line and its text."""

    name: str
    data: dict[str, object]
    lines: Mapping[KeyPath, int]
    texts: Mapping[KeyPath, str]

    def line(self, path: KeyPath) -> int:
        """The line of the nearest key at or above `path`, from 1."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def value(self, path: KeyPath) -> object:
        """The value at `path`; None if there is none."""
        value: object = self.data
        for part in path:
            value = child(value, part)
        return None if value is ABSENT else value


def child(data: object, part: str | int) -> object:
    """The value of a key or an index of `data`; ABSENT if there is none."""
    if isinstance(data, dict):
        return data.get(part, ABSENT)
    if isinstance(data, tuple) and isinstance(part, int) and part < len(data):
        return data[part]
    return ABSENT


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


def is_number(text: str) -> bool:
    """Whether text without quotes would be a number."""
    return _DECIMAL.fullmatch(text) is not None


class _Reader:
    """Converts a document's node tree into data, and collects lines, texts and faults."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[KeyPath, int] = {}
        self.texts: dict[KeyPath, str] = {}
        self.faults: list[str] = []
        self.nodes = 0

    def document(self, node: yaml.Node) -> YamlFile:
        """Convert one document; nodes and faults are counted over all of them."""
        self.lines, self.texts = {}, {}
        data = self.read(node, ())
        assert isinstance(data, dict)  # _compose refuses any other document
        return YamlFile(self.name, data, self.lines, self.texts)

    def read(self, node: yaml.Node, path: KeyPath) -> object:
        self.nodes += 1
        self.check_size(len(path))
        self.lines.setdefault(path, node.start_mark.line + 1)
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
            self.fault(node, path, node.tag, "is a YAML tag; remove it")
        if isinstance(node, yaml.MappingNode):
            return dict(self.entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.read(item, (*path, index)) for index, item in enumerate(node.value))
        assert isinstance(node, yaml.ScalarNode)
        text = self.texts[path] = str(node.value)
        if not text.isascii() and _SURROGATE.search(text):
            self.fault(node, path, ascii(text), "has half of a surrogate pair; write the character itself")
        return _scalar(node)

    def check_size(self, depth: int) -> None:
        """ShoalError for a file whose aliases expand without end."""
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise ShoalError(f"{self.name}: its aliases expand to too much; write the values out")

    def entries(self, node: yaml.MappingNode, path: KeyPath, merges: int = 0) -> Iterator[tuple[str, object]]:
        """Each key with its value. merges: the number of `<<` that led to the mapping."""
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = (*path, key)
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, path, "a list or mapping", "a key must be plain text; check the indentation")
            elif is_merge_key(key_node):
                continue
            elif inner in self.lines:
                first = self.lines[inner]
                self.fault(key_node, inner, "it again", f"is on line {first} already; keep one of the two")
            else:
                self.lines[inner] = key_node.start_mark.line + 1
                yield key, self.read(value_node, inner)
        yield from self.merged_entries(node, path, merges)

    def merged_entries(self, node: yaml.MappingNode, path: KeyPath, merges: int) -> Iterator[tuple[str, object]]:
        """The entries that `<<` takes over from other mappings, without those that the mapping has itself."""
        for key_node, value_node in node.value:
            for source in merge_sources(value_node) if is_merge_key(key_node) else ():
                if not isinstance(source, yaml.MappingNode):
                    self.fault(source, (*path, "<<"), "no mapping", "write `<<: *name` of an anchored mapping")
                    continue
                self.nodes += 1
                self.check_size(len(path) + merges)
                pairs = [pair for pair in source.value if self.is_new(pair[0], path)]
                own = yaml.MappingNode(source.tag, pairs, source.start_mark, source.end_mark)
                yield from self.entries(own, path, merges + 1)

    def is_new(self, key_node: yaml.Node, path: KeyPath) -> bool:
        """Whether a key of a merged mapping is not in the mapping already."""
        return is_merge_key(key_node) or (*path, str(key_node.value)) not in self.lines

    def fault(self, node: yaml.Node, path: KeyPath, got: str, text: str) -> None:
        line = node.start_mark.line + 1
        self.faults.append(f"{self.name}:{line}: {dotted(path)}: got {got}: {text}")


def is_merge_key(node: yaml.Node) -> bool:
    """Whether a key is YAML's `<<`, which takes over the entries of another mapping."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:merge"


def merge_sources(node: yaml.Node) -> list[yaml.Node]:
    """The mappings that a `<<` takes over, the most important first."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _read_text(path: Path, kind: str) -> str:
    try:
        with nullcontext(sys.stdin.buffer) if path == STDIN else path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ShoalError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if len(raw) > MAX_BYTES:
        raise ShoalError(f"{path}: is larger than {MAX_BYTES} bytes; this is not a {kind}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ShoalError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _compose(text: str, name: str, kind: str, example: str, *, aliases: bool, several: bool) -> list[yaml.Node]:
    """The node tree of each document; an empty file counts as one empty document."""
    try:
        _check_events(text, name, aliases=aliases, several=several)
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader)) or [yaml.ScalarNode("", "")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        remedy = _remedy(text.splitlines()[line - 1] if mark and line <= len(text.splitlines()) else "", error)
        raise ShoalError(f"{name}:{line}: not valid YAML: {error.problem or error.context}; {remedy}") from error
    except yaml.YAMLError as error:
        raise ShoalError(f"{name}:1: not valid YAML: {' '.join(str(error).split())}; correct it") from error
    for node in nodes:
        if not isinstance(node, yaml.MappingNode):
            line = node.start_mark.line + 1 if node.start_mark else 1
            raise ShoalError(f"{name}:{line}: got no `key: value` lines: not a {kind}; start from {example}")
    return nodes


def _remedy(line: str, error: yaml.MarkedYAMLError) -> str:
    """What to do about a line on which the scanner stopped."""
    column = error.problem_mark.column if error.problem_mark else 0
    if "\t" in line[: column + 1]:
        return "indent with spaces, not with tabs"
    if error.context == "while scanning an alias":
        return f"put the value in quotes, since it starts with *: {_quoted(line)}"
    if line[column : column + 1] in ("@", "`", "%"):
        return f"put the value in quotes, since it starts with {line[column]}: {_quoted(line)}"
    if "mapping values are not allowed" in (error.problem or ""):
        return "put a value with a colon in quotes, and check the indentation"
    return "correct it"


def _quoted(line: str) -> str:
    """A `key: value` line with its value in quotes, without what stands around them."""
    key, _, value = line.strip().rpartition(": ")
    return f'{key.rpartition("{")[2].rpartition(",")[2].strip()}: "{value.rstrip(" }")}"'


def _check_events(text: str, name: str, *, aliases: bool, several: bool) -> None:
    documents = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ShoalError(f"{name}:{line}: got lists or groups in {depth} levels: write at most {MAX_DEPTH}")
        if isinstance(event, yaml.AliasEvent) and not aliases:
            raise ShoalError(f"{name}:{line}: got *{event.anchor}: YAML aliases are not supported; write the value out")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1 and not several:
            raise ShoalError(f"{name}:{line}: got a second document: write one document in a file")


def read_yaml(path: Path) -> YamlFile:
    """Read one watchlist: a YAML file whose top level is a mapping.

    Raises:
        ShoalError: unreadable, not UTF-8, not YAML, or a key twice: one line for each fault.
    """
    [file] = _read(path, "watchlist", "watchlists/demo.yml", aliases=False, several=False)
    return file


def read_documents(path: Path, kind: str, example: str) -> tuple[YamlFile, ...]:
    """Read each document of a YAML file as `read_yaml` does; here aliases are read too.

    kind, example: how errors name such a file, and the example that they point to.
    """
    return _read(path, kind, example, aliases=True, several=True)


def _read(path: Path, kind: str, example: str, *, aliases: bool, several: bool) -> tuple[YamlFile, ...]:
    name = str(path)
    nodes = _compose(_read_text(path, kind), name, kind, example, aliases=aliases, several=several)
    reader = _Reader(name)
    documents = tuple(map(reader.document, nodes))
    if reader.faults:
        raise ShoalError("\n".join(reader.faults))
    return documents
