"""The log of `shoal serve`: time, level and watchlist before every line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from rich.console import Console

from bot.progress import TerminalNarrator, printable

_LOGGER = logging.getLogger("shoal.serve")

WatchlistLog = logging.LoggerAdapter[logging.Logger]
"""A logger whose lines name one watchlist."""


class ServiceFormatter(logging.Formatter):
    """`2026-11-26T06:00:00Z INFO demo: text`, in UTC; each line of a traceback begins so too.

    Lines of libraries name the library where shoal's own name the watchlist.
    """

    def format(self, record: logging.LogRecord) -> str:
        """A record as whole lines."""
        moment = datetime.fromtimestamp(record.created, UTC)
        head = f"{moment:%Y-%m-%dT%H:%M:%SZ} {record.levelname} {getattr(record, 'watchlist', record.name)}: "
        text = record.getMessage()
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        return "\n".join(head + line for line in printable(text).splitlines() or [""])


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, watchlist (or logger), message, and exception where there was one."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as one line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        own = getattr(record, "watchlist", None)
        fields = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            **({"logger": record.name} if own is None else {"watchlist": own}),
            "message": record.getMessage(),
            **({"exception": self.formatException(record.exc_info)} if record.exc_info else {}),
        }
        return json.dumps(fields, ensure_ascii=False)


def log_to_stderr(*, as_json: bool = False) -> None:
    """Write the log to standard error: shoal's own lines from INFO on, those of libraries from ERROR on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else ServiceFormatter())
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    _LOGGER.setLevel(logging.INFO)


def log_of(watchlist: str) -> WatchlistLog:
    """The log of one watchlist."""
    return logging.LoggerAdapter(_LOGGER, {"watchlist": watchlist})


class LogNarrator(TerminalNarrator):
    """Progress as lines of a watchlist's log; work in progress is a line now and then."""

    def __init__(self, log: WatchlistLog) -> None:
        super().__init__(Console(file=sys.stderr, force_terminal=False))
        self._log = log

    def say(self, text: str) -> None:
        """Log a finished step."""
        self._log.info(text)
