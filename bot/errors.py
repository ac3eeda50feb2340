"""The errors that a person reads: each is one line that names the thing, the value received and the remedy."""


class ShoalError(Exception):
    """Something that stops a command; the entry point prints its one line and exits non-zero."""
