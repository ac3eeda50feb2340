"""`python tests/served.py HOME DIARY WATCHLISTS…` keeps the schedule as `shoal serve` does, but with cycles that only
write when they begin and end into DIARY, half a second apart. Watchlists with a fault in their name fail with it."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from bot.errors import ShoalError
from bot.home import Home
from bot.progress import TerminalNarrator
from bot.service.scheduler import serve
from bot.watchlist.watchlist import Watchlist

FAULTS = {"mendable": ShoalError("the Hub is down"), "full": OSError(28, "No space left"), "bug": KeyError("oops")}


def main(home: str, diary: str, *watchlists: str) -> None:
    """Serve until a signal ends it."""

    def run(watchlist: Watchlist) -> None:
        with Path(diary).open("a", encoding="utf-8") as file:
            file.write(f"{watchlist.name} begins\n")
            file.flush()
            if watchlist.name in FAULTS:
                raise FAULTS[watchlist.name]
            time.sleep(0.5)
            file.write(f"{watchlist.name} ends\n")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        serve([Path(one) for one in watchlists], Home(Path(home)), run, TerminalNarrator(Console(stderr=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
