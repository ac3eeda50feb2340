"""The addresses of notifications: they hold secrets, so they come from the environment or from a private file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import ShoalError
from bot.home import Home

if TYPE_CHECKING:
    from apprise.plugins import NotifyBase

VARIABLE = "SHOAL_NOTIFY"

_SCHEMA = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}(?=://)")

_WEBHOOKS = ("json", "xml", "form")
"""Schemes of plain webhooks. Whoever knows the path of one can often write to it, as with those of chats."""


@dataclass(frozen=True)
class Address:
    """Where notifications go. name: the address without its secrets, for logs. service: apprise's own object for it."""

    name: str
    service: NotifyBase


def read_addresses(home: Home, environment: Mapping[str, str] = os.environ) -> tuple[Address, ...]:
    """The addresses in SHOAL_NOTIFY, separated by spaces, else those in the home's `notify` file, one a line.

    None at all is not an error. Lines of the file that begin with `#` are comments.

    Raises:
        ShoalError: others can read the file, or one is no address that apprise knows. Addresses are never shown.
    """
    if found := environment.get(VARIABLE, "").split():
        return tuple(_parse(text, f"{VARIABLE}: address {number}") for number, text in enumerate(found, 1))
    path = home.notify
    try:
        _check_private(path)
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as error:
        raise ShoalError(f"{path}: is not text in UTF-8; write one address a line") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    return tuple(_parse(text, f"{path}:{number}") for number, text in numbered if text and not text.startswith("#"))


def _check_private(path: Path) -> None:
    """ShoalError unless only its owner can read the file; Windows keeps no such bits."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ShoalError(f"{path}: got mode {mode:04o}: it holds secrets, so only you may read it: chmod 600 {path}")


def _parse(text: str, place: str) -> Address:
    """One address; its error names the place and the scheme, for anything behind that may be secret."""
    from apprise import Apprise

    service = Apprise.instantiate(text, suppress_exceptions=True)
    if service is None:
        scheme = _SCHEMA.match(text)
        got = f"an address that begins with {scheme[0]}://" if scheme else "a text without scheme://"
        raise ShoalError(f"{place}: got {got}: apprise does not know it; see `shoal notify --help` for examples")
    return Address(_hide_secrets(str(service.url(privacy=True))), service)  # type: ignore[no-untyped-call]


def _hide_secrets(url: str) -> str:
    """An address as apprise shows it, without what apprise takes for none of the secrets."""
    # What follows the ? are apprise's own settings of the connection.
    scheme, _, place = url.partition("?")[0].partition("://")
    host, _, path = place.partition("/")
    hidden = f"{host}/****" if path and scheme.removesuffix("s") in _WEBHOOKS else place
    return f"{scheme}://{hidden}"
