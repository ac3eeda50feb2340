"""A configuration as YAML text that people can read: no anchors, ranges of layers on one line."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap

import yaml

_WIDTH = 118


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML calls it
        """Write equal values out each time: `&id001` and `*id001` mean nothing to a reader."""
        return True


class OneLine(dict[str, object]):
    """A mapping that is written on one line."""


def _represent_list(dumper: yaml.SafeDumper, data: list[object]) -> yaml.SequenceNode:
    numbers = bool(data) and all(type(entry) is int for entry in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=numbers or None)


def _represent_one_line(dumper: yaml.SafeDumper, data: OneLine) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(OneLine, _represent_one_line)


def dump_config(config: Mapping[str, object]) -> str:
    """A configuration's YAML, its keys in their order."""
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def as_comment(sentence: str) -> str:
    """A sentence as lines of comment."""
    return "".join(f"# {line}\n" for line in wrap(sentence, _WIDTH))


def show_value(value: object) -> str:
    """A value on one line, as it may be written in YAML."""
    text: str = yaml.dump(
        _plain(value), Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return text.strip()


def _plain(value: object) -> object:
    """Lists for tuples, which PyYAML does not write."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
