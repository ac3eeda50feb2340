"""Where a browser may be sent on this site after a login: to its own pages, never to another site."""

from __future__ import annotations

import re

_PAGE = re.compile(r"/(?:cycles(?:/[A-Za-z0-9._~%-]+){1,5})?")
_QUERY = re.compile(r"[A-Za-z0-9._~%=&+-]*")

LONGEST_TARGET = 500


def local_target(text: str) -> str:
    """The text, if it is the path of a page of ours, perhaps with a query; otherwise the first page's."""
    path, mark, query = text.partition("?")
    known = len(text) <= LONGEST_TARGET and _PAGE.fullmatch(path) and _QUERY.fullmatch(query)
    return f"{path}{mark}{query}" if known else "/"
