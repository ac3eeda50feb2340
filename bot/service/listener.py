"""Opens the socket of a server, with the option to correct in its error."""

from __future__ import annotations

import errno
import socket

from bot.errors import ShoalError
from localhub.server import listen


def open_listener(host: str, port: int, *, host_option: str = "--host", port_option: str = "--port") -> socket.socket:
    """A listening socket. ShoalError names the option whose value cannot be used."""
    try:
        return listen(host, port)
    except OSError as error:
        no_such_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        key, got = (host_option, host) if no_such_host else (port_option, port)
        raise ShoalError(f"{key}: got {got}: {error.strerror}; choose another") from error
