"""The settings of a processor: how pictures become tensors, as its files say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_PARTS = ("image_processor", "video_processor")
"""Keys below which newer files hold the settings of a part, which older ones have in files of their own."""

_HARMLESS = frozenset({"transformers_version", "data_format", "return_tensors", "return_metadata", "device"})
"""Keys that say with what, and in which form, and nothing of the values."""

_CLASSES = ("_class", "_type")
"""Endings of the keys that name classes: one processor has several, by library and version."""


def read_processor(content: Mapping[str, object]) -> dict[str, object]:
    """The settings in the content of one of a processor's files; settings within settings are named with a dot.

    Those of the image processor are named without it, as older files have them; those of videos are left out.
    """
    inside = content.get(_PARTS[0])
    given = {key: value for key, value in content.items() if key not in _PARTS}
    return dict(_flat({**given, **inside} if isinstance(inside, Mapping) else given))


def processor_differences(leader: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """The settings that both processors state, and that differ.

    One that is left out has the default of its class, of which there are several by library and version.
    """
    keys = [key for key, value in leader.items() if key in other and other[key] != value]
    return [f"{key[:60]} {_short(other[key])}, not {_short(leader[key])}" for key in keys]


def _flat(settings: Mapping[str, object], within: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{key}.")
        elif not (key in _HARMLESS or key.startswith("_") or key.endswith(_CLASSES) or value is None):
            yield f"{within}{key}", value


def _short(value: object) -> str:
    return repr(value)[:60]
