"""The end of commands: errors as one line on standard error, and exit statuses."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import NoReturn, ParamSpec

import typer

from bot.errors import EXPECTED, error_message

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after Ctrl-C and SIGTERM, as shells have them. `serve` and `hub` run until a signal ends them, so
they exit with 0."""

P = ParamSpec("P")


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops any work the way Ctrl-C does."""


def one_line_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command: the only place where an error becomes a line for a person and an exit status."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            command(*args, **kwargs)
        except EXPECTED as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # typer ends quietly when the reader of a pipe has closed it
            _fail(error_message(error))
        except Terminated:
            _fail("stopped; nothing is lost: the same command continues where it stopped", TERMINATED)
        except KeyboardInterrupt:
            _fail("interrupted; nothing is lost: the same command continues where it stopped", INTERRUPTED)

    return run


def quiet_libraries() -> None:
    """Silence what libraries report below an error; -W and PYTHONWARNINGS still take effect."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    for library in ("HF_HUB", "TRANSFORMERS", "DATASETS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for the worker processes


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # A second SIGTERM must not interrupt the release of workers and locks.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _fail(message: str, status: int = 1) -> NoReturn:
    from bot.progress import printable

    for line in printable(message).splitlines():
        typer.echo(f"shoal: {line}", err=True)
    raise typer.Exit(status)
