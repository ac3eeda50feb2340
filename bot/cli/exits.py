"""The end of commands: errors as one line on standard error, and exit statuses."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import NoReturn, ParamSpec

import typer
from pydantic import ValidationError

from bot.errors import EXPECTED, error_message

USAGE, INTERRUPTED, TERMINATED = 2, 130, 143
"""Exit statuses after wrong usage, Ctrl-C and SIGTERM, as shells have them. `serve` and `hub` run until a signal ends
them, so they exit with 0."""

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


def run_command_line(app: typer.Typer) -> None:
    """Run the command that the process was started with; wrong usage is one line, too."""
    try:
        status = app(prog_name="shoal", standalone_mode=False)
    except typer.TyperException as error:
        _report_usage(error)
        sys.exit(USAGE)
    except typer.Abort:
        status = INTERRUPTED
    if status:
        sys.exit(status)


def _report_usage(error: typer.TyperException) -> None:
    """Say what is wrong with the arguments, and where to read about them."""
    words = " ".join(error.format_message().replace("Value error, ", "").split())
    if isinstance(error.__cause__, ValidationError):
        words = words.replace("Input should be", f"got {error.__cause__.errors()[0]['input']}, should be")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "shoal"
    if words:  # there are none where the help has been printed, for want of any argument
        _print_error(f"{words.rstrip('.')}; see `{command} --help`")


def quiet_libraries() -> None:
    """Silence what libraries report below an error; -W and PYTHONWARNINGS still take effect."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    for library in ("HF_HUB", "TRANSFORMERS", "DIFFUSERS", "DATASETS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for the worker processes


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # A second SIGTERM must not interrupt the release of workers and locks.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _fail(message: str, status: int = 1) -> NoReturn:
    _print_error(message)
    raise typer.Exit(status)


def _print_error(message: str) -> None:
    """Print each line on standard error: whole, or wrapped between words on a terminal."""
    from bot.progress import printable, wrapped

    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    for line in printable(message).splitlines():
        shown = f"shoal: {line}"
        typer.echo(wrapped(shown, width) if width else shown, err=True)
