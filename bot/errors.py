"""The errors that a person reads, each one line: what is wrong, the value received, and the remedy."""

from __future__ import annotations

import errno

from evaluation.errors import EvaluationError
from merging.errors import MergingError


class ShoalError(Exception):
    """An error that stops a command. The command line prints its text and exits with a non-zero status."""


EXPECTED = (ShoalError, MergingError, EvaluationError, OSError)
"""Errors that are reported as one line, without a traceback, because shoal itself is not at fault.

merging and evaluation import nothing of the bot, so their errors have base classes of their own.
"""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


def failure_reason(error: BaseException) -> str:
    """Why something failed, in one line: an expected error's text, or that shoal itself is at fault."""
    if isinstance(error, EXPECTED):
        return " ".join(error_message(error).split())
    return f"a bug in shoal: {type(error).__name__}: {' '.join(str(error).split())}; please report it"


def error_message(error: BaseException) -> str:
    """The text of an expected error; errors of the operating system get the file's name and a remedy."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    remedies = {
        _FULL: "free some space",
        _FORBIDDEN: "choose a place that you may write to",
        _NO_FOLDER: "check the path",
    }
    remedy = next((text for codes, text in remedies.items() if error.errno in codes), "fix this")
    return f"{error.filename or 'this machine'}: {error.strerror}; {remedy} and run the command again"
