"""The errors that a person reads: each is one line that names the thing, the value received and the remedy."""

from __future__ import annotations

import errno

from evaluation.errors import EvaluationError
from merging.errors import MergingError


class ShoalError(Exception):
    """Something that stops a command; the entry point prints its one line and exits non-zero."""


EXPECTED = (ShoalError, MergingError, EvaluationError, OSError)
"""What may go wrong without a fault in shoal itself: it is told in a line, not with a traceback."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


def error_message(error: BaseException) -> str:
    """An expected error in words; the system's own get the file's name and a remedy."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    remedies = {
        _FULL: "free some space",
        _FORBIDDEN: "choose a place that you may write to",
        _NO_FOLDER: "check the path",
    }
    remedy = next((words for codes, words in remedies.items() if error.errno in codes), "see to it")
    return f"{error.filename or 'this machine'}: {error.strerror}; {remedy}, then run it again"
