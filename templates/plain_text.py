"""Plain text from templates: files for other programs, which have their own rules of quoting."""

from __future__ import annotations

import re

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from templates import FOLDER
from templates.yaml_text import scalar

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./=:@,+-]+")


def unit_path(value: str) -> str:
    """A path that is the whole of a systemd unit's value: nothing ends it, but specifiers count."""
    return value.replace("%", "%%")


def unit_word(value: str) -> str:
    """One word of a systemd unit's value: spaces do not end it, and specifiers are taken literally."""
    if _PLAIN_WORD.fullmatch(value):
        return value
    literal = unit_path(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{literal}"'


def unit_argument(value: str) -> str:
    """One word of a systemd unit's command, where variables count, too."""
    return unit_word(value).replace("$", "$$")


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # nothing is HTML here
)
_ENVIRONMENT.filters |= {"unit_path": unit_path, "unit_word": unit_word, "unit_argument": unit_argument, "yaml": scalar}


def render_plain(template: str, **values: object) -> str:
    """The text of a template."""
    return _ENVIRONMENT.get_template(template).render(values)
