"""Every text that a person reads: the model card and the local Hub's pages."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


@cache
def environment() -> Environment:
    """The templates of this folder. HTML is escaped, other texts are not; a name that is not given is an
    error."""
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(name: str, **values: Any) -> str:
    """The text of the template `name` with these values."""
    return environment().get_template(name).render(**values)
