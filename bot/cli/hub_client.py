"""The Hub's client for a command: its address, and the settings it reads when it is imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bot.cli.output import terminal_narrator
from bot.errors import ShoalError

if TYPE_CHECKING:
    from bot.hub.client import Hub
    from bot.ledger.ledger import Ledger


def open_hub(endpoint: str | None) -> Hub:
    """The Hub at the address of `--endpoint`, else of HF_ENDPOINT, else the real one.

    The data of tasks come from there too: `datasets` reads HF_ENDPOINT when it is imported, here and in the workers.

    Raises:
        ShoalError: not an address.
    """
    address = _address(endpoint)
    if address is not None:
        os.environ["HF_ENDPOINT"] = address
    prepare_client(local=_is_local(address))
    from bot.hub.client import Hub

    return Hub(address, say=terminal_narrator().say)


def open_cycle_hub(ledger: Ledger, cycle: str, endpoint: str | None) -> Hub:
    """`cycle_hub` for a command, whose client has yet to be imported."""
    prepare_client(local=_is_local(_cycle_address(ledger, cycle, endpoint)))
    return cycle_hub(ledger, cycle, endpoint)


def cycle_hub(ledger: Ledger, cycle: str, endpoint: str | None) -> Hub:
    """The Hub that a past cycle ran on, unless `--endpoint` names another.

    Whoever decides on its releases hours later need not remember where they belong. The environment stays as it is: a
    service, which has a cycle's pull requests looked up, runs others meanwhile, perhaps on another Hub.

    Raises:
        ShoalError: not an address.
    """
    from bot.hub.client import Hub

    return Hub(_cycle_address(ledger, cycle, endpoint), say=terminal_narrator().say)


def prepare_client(*, local: bool) -> None:
    """Set the environment variables that huggingface_hub reads once, when it is imported.

    Without Xet disabled, the client would upload to a storage that a local Hub does not have. The client's own
    progress bars are for large files on a terminal.
    """
    if local:
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    if local or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _cycle_address(ledger: Ledger, cycle: str, endpoint: str | None) -> str | None:
    return _address(endpoint or ledger.kept(cycle, "hub", str))


def _is_local(address: str | None) -> bool:
    """Whether an address is another than the real Hub's."""
    return address is not None and "huggingface.co" not in address


def _address(endpoint: str | None) -> str | None:
    """The Hub's address, from the option or the environment; None: the client's own default."""
    key, given = ("--endpoint", endpoint) if endpoint else ("HF_ENDPOINT", os.environ.get("HF_ENDPOINT"))
    if not given:
        return None
    try:
        parts = urlsplit(given)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ShoalError(f"{key}: got {given!r}: is not a Hub's address; write one such as http://127.0.0.1:8300")
    return given.rstrip("/")
