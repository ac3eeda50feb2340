"""The Jinja environment for HTML: whatever a template prints is escaped unless it is markup."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from templates import FOLDER


def render_html(template: str, **values: object) -> str:
    """Fill `templates/<template>` with `values`; a missing name is an error."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
