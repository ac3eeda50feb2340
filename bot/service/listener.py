"""Opens the socket of a server, with the option to correct in its error."""

from __future__ import annotations

import errno
import socket

from bot.errors import ShoalError
from localhub.server import listen

_OF_THE_HOST = (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)
"""Errors of an address: it is another machine's, needs a zone (fe80::1), or is of a family that this machine lacks."""


def open_listener(host: str, port: int, *, host_option: str = "--host", port_option: str = "--port") -> socket.socket:
    """A listening socket; an IPv6 address may stand in brackets. ShoalError names the option that cannot be used."""
    try:
        return listen(host.strip("[]"), port)
    except (OSError, UnicodeError) as error:
        no_such_host = isinstance(error, socket.gaierror | UnicodeError) or error.errno in _OF_THE_HOST
        key, got = (host_option, host) if no_such_host else (port_option, port)
        reason = "is no host's name" if isinstance(error, UnicodeError) else error.strerror
        another = "another from 1024 on" if isinstance(error, PermissionError) else "another"
        raise ShoalError(f"{key}: got {got}: {reason}; choose {another}") from error
