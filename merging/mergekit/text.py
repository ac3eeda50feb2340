"""A configuration as YAML text that people can read: no anchors, ranges of layers on one line."""

from __future__ import annotations

from collections.abc import Mapping

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML calls it
        """Write equal values out each time: `&id001` and `*id001` mean nothing to a reader."""
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[object]) -> yaml.SequenceNode:
    numbers = bool(data) and all(type(entry) is int for entry in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=numbers)


_Dumper.add_representer(list, _represent_list)


def dump_config(config: Mapping[str, object]) -> str:
    """A configuration's YAML, its keys in their order."""
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
