"""Cards as HTML that is safe to show: Markdown is rendered, then everything active is removed."""

from __future__ import annotations

from functools import cache, partial
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


def render_card(body: str, images: str, pages: str) -> str:
    """The card's body as HTML. images, pages: what relative images, and relative links, are below; both end in `/`."""
    return nh3.clean(
        _make_parser().render(body),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=partial(_filter_attribute, images, pages),
        url_schemes=_SCHEMES,
        filter_style_properties={"text-align"},
        link_rel="noopener noreferrer nofollow",
    )


@cache
def _make_parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _filter_attribute(images: str, pages: str, tag: str, attribute: str, value: str) -> str:
    if (tag, attribute) == ("img", "src"):
        return _make_absolute(value, images)
    if (tag, attribute) == ("a", "href") and not value.startswith("#"):
        return _make_absolute(value, pages)
    return value


def _make_absolute(url: str, base: str) -> str:
    """A URL with a host or a leading slash as it is; a relative one below `base`, which it cannot leave."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "#"
    if parts.scheme or parts.netloc or url.startswith("/"):
        return url
    joined = urljoin(base, url)
    return joined if joined.startswith(base) else base
