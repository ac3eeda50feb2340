"""What the tests of written texts share: golden files, injection attempts, and the structure of Markdown.

To write the golden files anew after a wanted change, run the tests with SHOAL_WRITE_GOLDEN=1 in the environment
and read the difference before you commit it.
"""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

GOLDEN = Path(__file__).parent / "golden"

POISON = "x\n\n# H\n---\nkey: 1\n---\n<b>\u202e|[l](http://evil.example)"

ATTACKS = (
    "x\n\n# Heading\n\nSecond\n======\n",
    "# Heading",
    "- item",
    "1. item",
    "1) item",
    "+ item",
    "> quote",
    "    indented",
    "\u2028\u2029\x0b\x0c\x85# Heading",
    "x\n---\nlicense: mit\nkey: 1\n---\n",
    "---",
    "key: [value, {a: b}] # comment",
    "'\"%@!&*yes",
    "<script>alert(1)</script>",
    "</details></td></table><img src=x onerror=alert(1)>",
    "<!-- comment",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "[l](javascript:alert(1)) ![p](http://evil.example/p.png) [r][r] [^1]",
    "\n[r]: http://evil.example\n",
    "<http://evil.example> http://evil.example www.evil.example a@evil.example",
    "**bold** __bold__ *it* _it_ ~~gone~~",
    "`code` `` ``` ```` `",
    "```\n```\n~~~\n~~~",
    "a | b \\| c |\n|---|---|\n",
    "back\\slash \\",
    "$$x^2$$ \\(x\\) $x$",
    "\x00\x1b[31m\u202eexe\u2066\u200b\ufeff\ud800",
    "{{ 7 * 7 }} {% raw %} {# #}",
)


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("SHOAL_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path} differs: see the top of tests/written_texts.py"


def with_texts(value: Any, text: str) -> Any:
    """The same facts with `text` in every field that strangers fill: all but the Hub's own address."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return text
    if isinstance(value, tuple):
        return tuple(with_texts(item, text) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.name != "hub_url"]
        return replace(value, **{name: with_texts(getattr(value, name), text) for name in names})
    return value


def structure(markdown: str) -> list[str]:
    """What the rendered page is made of, without its words: blocks, and the inline parts other than text."""
    parts = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown):
        if token.type == "html_block":
            parts.append(token.content)
        parts += [token.type + token.tag, *(child.type for child in token.children or [])]
    # A code span falls back to text where it could not be kept whole, and is no more than text itself.
    return [part for part in parts if part not in ("text", "code_inline")]
