"""Escapes text of strangers so that Markdown shows exactly that text.

Repository names, licence names, tags and prompts come from strangers. Each function takes any string and returns one
that has no effect beyond its own place: no heading, link, picture, tag, table cell, formula or hidden character gets
through. All are pure and use the standard library alone.
"""

import re
import unicodedata
from urllib.parse import quote, urlsplit

# Everywhere in prose. Entities, not backslashes, where a later pass (tables, auto-links) reads the raw text.
_INLINE = {
    **{mark: "\\" + mark for mark in "\\`*_{}[]~$"},
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",
    "@": "&#64;",
}
_BLOCK_START = re.compile(r"^([-+=#:]|\d+(?=[.)](\s|$)))")
_AUTOLINK = re.compile(r"(://)|(\bwww)\.", re.IGNORECASE)
_BACKTICKS = re.compile(r"`+")
# Hidden or direction-changing marks (category Cf), controls, surrogates, private and unassigned code points.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn")
_BREAKS = re.compile(r"[\s\x85\u2028\u2029]+")


def plain(value: str) -> str:
    """One line of visible characters: every kind of line break becomes a space, hidden characters are removed."""
    spaced = _BREAKS.sub(" ", value)
    return "".join(c for c in spaced if unicodedata.category(c) not in _UNSEEN).strip()


def shortened(value: str, width: int) -> str:
    """`plain` text of at most `width` characters; longer text ends with an ellipsis."""
    line = plain(value)
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def text(value: str) -> str:
    """Markdown prose that shows `value`, safe at the start of a line, inside emphasis and in a table cell."""
    marked = "".join(_INLINE.get(c, c) for c in plain(value))
    marked = _AUTOLINK.sub(lambda m: "&#58;//" if m.group(1) else m.group(2) + "&#46;", marked)
    return _BLOCK_START.sub(_without_block_meaning, marked)


def _without_block_meaning(match: re.Match[str]) -> str:
    start = match.group(1)
    # "1." opens a list: digits cannot be escaped, so the first one becomes an entity.
    return f"&#{ord(start[0])};{start[1:]}" if start[0].isdigit() else f"\\{start}"


def code(value: str) -> str:
    """A code span that shows `value`; safe in prose, not in a table (see `code_cell`)."""
    line = plain(value)
    if not line:
        return ""
    fence = "`" * (_longest_run(line) + 1)
    padding = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def code_cell(value: str) -> str:
    """A code span for a table cell, or plain prose if there is a pipe, which ends a cell even inside code."""
    return text(value) if "|" in value else code(value)


def code_block(value: str, language: str = "") -> str:
    """A fenced block that shows `value` line by line; `language` must come from a template, not from a stranger."""
    lines = [_visible_line(line) for line in re.split(r"\r\n|\r|\n", value.strip("\r\n"))]
    fence = "`" * max(3, _longest_run("\n".join(lines)) + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def _visible_line(line: str) -> str:
    """Like `plain`, but spaces are kept: they have a meaning in YAML and Python."""
    return "".join(c for c in line.replace("\t", " ") if unicodedata.category(c) not in _UNSEEN)


def identifier(value: str) -> str:
    """A name in Python code: what names cannot have is left out."""
    return "".join(c for c in value if c.isascii() and (c.isalnum() or c == "_"))


def link(label: str, address: str) -> str:
    """A Markdown link, or the label alone where `address` is not a plain http(s) address or a path."""
    target = link_target(address)
    return f"[{text(label)}]({target})" if target else text(label)


def link_target(address: str) -> str | None:
    """`address` percent-encoded for the inside of `(...)`; None unless it is http(s) or a path."""
    line = plain(address)
    try:
        parts = urlsplit(line)
        web = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return None
    path = bool(line) and ":" not in line and not line.startswith("//")
    return quote(line, safe="/:?#=&%~+,;@-._") if web or path else None


def _longest_run(line: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(line)), default=0)
