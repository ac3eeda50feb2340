"""YAML from templates."""

from __future__ import annotations

import json
import re

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from templates import FOLDER

_PLAIN = re.compile("[A-Za-z][A-Za-z0-9_./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Words that YAML, or an older YAML, reads as no text."""


def scalar(value: str) -> str:
    """Text as a YAML scalar: plain words as they are, anything else in JSON's quotes, which are YAML's, too."""
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # nothing is HTML here; values go through `scalar`
)
_ENVIRONMENT.filters["yaml"] = scalar


def render_yaml(template: str, **values: object) -> str:
    """The text of a template."""
    return _ENVIRONMENT.get_template(template).render(values)
