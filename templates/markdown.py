"""The Jinja environment for Markdown: what a template prints is escaped unless a filter vouches for it.

Jinja's autoescape is on, but with `templates.escaping.text` instead of HTML's rules: `finalize` runs before Jinja's own
escaping and passes it finished markup. The filters return markup too, which stays unchanged. A template must not join
strings with `~` or `join` where one is markup: these would escape the other for HTML.
"""

from collections.abc import Callable
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.runtime import Undefined
from markupsafe import Markup

from templates import FOLDER, escaping
from templates.figures import amount, coefficient, count, format_duration, number, p_value, percent, rate, signed


def render_markdown(template: str, **values: object) -> str:
    """Fill `templates/<template>` with `values`; a missing name is an error."""
    return _environment().get_template(template).render(**values).strip() + "\n"


@cache  # compiling a card's templates takes far longer than filling them
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        finalize=_finished,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "code": _vouched(escaping.code),
        "code_cell": _vouched(escaping.code_cell),
        "code_block": _vouched(escaping.code_block),
        "link": _vouched(escaping.link),
        "literal": _vouched(repr),
        "identifier": _vouched(escaping.identifier),
        "shortened": escaping.shortened,
        "number": _vouched(number),
        "signed": _vouched(signed),
        "p_value": _vouched(p_value),
        "duration": _vouched(format_duration),
        "amount": _vouched(amount),
        "count": _vouched(count),
        "coefficient": _vouched(coefficient),
        "percent": _vouched(percent),
        "rate": _vouched(rate),
    }
    return environment


def _finished(value: object) -> object:
    """Markup and undefined names unchanged, everything else escaped."""
    if isinstance(value, Markup | Undefined):
        return value
    return Markup(escaping.text(str(value)))


def _vouched(escape: Callable[..., str]) -> Callable[..., Markup]:
    return lambda *arguments: Markup(escape(*arguments))
