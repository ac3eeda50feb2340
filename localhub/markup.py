"""Cards as HTML that is safe to show: Markdown is rendered, then everything active is taken out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from urllib.parse import urljoin, urlsplit

import nh3
from markdown_it import MarkdownIt

_SCHEMES = {"http", "https", "mailto"}
_TAGS = nh3.ALLOWED_TAGS - {"map", "area"}
_ATTRIBUTES = {
    **{tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()},
    "code": {"class"},
    "th": {"align", "colspan", "rowspan", "style"},
    "td": {"align", "colspan", "rowspan", "style"},
    "div": {"align"},
    "p": {"align"},
}


def card_html(body: str, repo: str, commit: str) -> str:
    """The card's body as HTML. Relative images and links lead to the repo's files at the commit."""
    return nh3.clean(
        _markdown().render(body),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_leading_into(repo, commit),
        url_schemes=_SCHEMES,
        filter_style_properties={"text-align"},
        link_rel="noopener noreferrer nofollow",
    )


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _leading_into(repo: str, commit: str) -> Callable[[str, str, str], str | None]:
    def rewritten(tag: str, attribute: str, value: str) -> str | None:
        if (tag, attribute) == ("img", "src"):
            return _absolute(value, f"/{repo}/resolve/{commit}/")
        if (tag, attribute) == ("a", "href") and not value.startswith("#"):
            return _absolute(value, f"/{repo}/blob/{commit}/")
        return value

    return rewritten


def _absolute(url: str, base: str) -> str:
    """The URL itself if it names a host or a place on this one, else the file of the repo that it means."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "#"
    if parts.scheme or parts.netloc or url.startswith("/"):
        return url
    joined = urljoin(base, url)
    return joined if joined.startswith(base) else base
