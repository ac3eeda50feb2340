"""What every command is made of: its options, errors as lines and exit statuses, the Hub's client, and output."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from bot.errors import EXPECTED, ShoalError, error_message

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after Ctrl-C and after SIGTERM, as shells have them; `serve` and `hub`, which nothing else ends
in good order, end with 0 on SIGTERM."""

WIDE = 10_000
"""Columns where there is no terminal: there a line is a line, for grep and its kin."""

_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>B|[KMGT]i?B|)", re.IGNORECASE)
_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)},
}

WatchlistPath = Annotated[Path, typer.Argument(metavar="WATCHLIST", help="A watchlist, a YAML file.")]
CycleId = Annotated[str, typer.Argument(metavar="CYCLE", help="A cycle's id, as `shoal status` shows it.")]
HomePath = Annotated[
    Path | None,
    typer.Option("--home", help="The bot's folder; else SHOAL_HOME, else ~/.shoal.", show_default=False),
]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint", help="The Hub to talk to; else HF_ENDPOINT, else the real one.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


class Terminated(KeyboardInterrupt):
    """SIGTERM: whatever is under way stops as it does at Ctrl-C."""


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The only place where an error becomes a line for a person and an exit status."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            command(*args, **kwargs)
        except EXPECTED as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of a pipe has seen enough; typer knows
            _fail(error_message(error))
        except Terminated:
            _fail("stopped; nothing is lost: the same command goes on where it stopped", TERMINATED)
        except KeyboardInterrupt:
            _fail("interrupted; nothing is lost: the same command goes on where it stopped", INTERRUPTED)

    return run


def _terminate(_number: int, _frame: Any) -> None:
    # Once is enough: a second one must not break into the putting away of workers and locks.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def quiet_libraries() -> None:
    """What libraries have to say below an error is not for the person who runs the bot (-W and PYTHON* still rule)."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    for library in ("HF_HUB", "TRANSFORMERS", "DATASETS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for the workers


def open_hub(endpoint: str | None) -> Any:
    address = _address(endpoint)
    prepare_client(local=address is not None and "huggingface.co" not in address)
    from bot.hub.client import Hub

    return Hub(address)


def size_in_bytes(key: str, text: str) -> int:
    """`5GB`, `500MB`, `2GiB` or plain bytes as a number of bytes; ShoalError names the option."""
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found["number"]) * _UNITS[found["unit"].upper()]) if found else 0
    if size < 1:
        raise ShoalError(f"{key}: got {text!r}: write a size such as 5GB or 500MB")
    return size


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


def prepare_client(*, local: bool) -> None:
    """Set what the Hub's client reads once, when it is imported.

    A Hub without Xet storage takes uploads only from a client that is told so. The client's own bars are for
    large files on a terminal.
    """
    if local:
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    if local or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def terminal_narrator() -> Any:
    from bot.progress import TerminalNarrator

    return TerminalNarrator(Console(stderr=True))


def show_page(page: Any) -> None:
    """Show a page on standard output: as wide as the terminal, or with whole lines where there is none."""
    if sys.stdout.isatty():
        Console().print(page)
        return
    text = io.StringIO()
    Console(file=text, width=WIDE).print(page)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def show_json(value: Mapping[str, Any] | list[Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _fail(message: str, status: int = 1) -> None:
    from bot.progress import printable

    for line in printable(message).splitlines():
        typer.echo(f"shoal: {line}", err=True)
    raise typer.Exit(status)
