"""`shoal demo`: the whole bot once, on a local Hub with tiny specialists and models to refuse."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bot.cycle.run import run_cycle
from bot.home import Home
from bot.hub.client import Hub
from bot.lock import hold_home
from bot.progress import Narrator
from bot.scoring.evaluator import EvaluatorFactory
from bot.scoring.process_pool import ProcessPool
from bot.service.live import live_narrator
from bot.watchlist.load import load_watchlist
from bot.watchlist.sections import SpaceKind
from bot.watchlist.watchlist import Watchlist
from localhub import Store, running
from zoo.populate import populate

WATCHLIST = Path(__file__).parent.parent / "watchlists" / "demo.yml"
BOT_USER = "shoal-bot"
PORT = 8300
"""The default port of `shoal hub`, so that the links in the demo's cards still work afterwards."""

TOKEN = "hf_demo_of_the_local_hub"
"""Valid only on the demo's Hub, which listens on this machine only while the demo runs."""


def demo_watchlist(space: SpaceKind) -> Watchlist:
    """The demo's watchlist; for a space other than that of its file, under another name."""
    watchlist = load_watchlist(WATCHLIST)
    if space == watchlist.search.space:
        return watchlist
    search = watchlist.search.model_copy(update={"space": space})
    return watchlist.model_copy(update={"name": f"{watchlist.name}-{space}", "search": search})


def run_demo(
    folder: Path,
    narrator: Narrator,
    space: SpaceKind = "parameter",
    make_evaluator: EvaluatorFactory = ProcessPool,
) -> str:
    """Fill a Hub in `folder`/hub and run the demo's watchlist against it, with the home in `folder`/home.

    space: the space that is searched. Run again, the demo continues where it was interrupted, or finds nothing new.
    Returns the cycle's id.
    """
    home = Home(folder / "home")
    with hold_home(home), running(folder / "hub", PORT if _is_free(PORT) else 0) as server:
        watchlist = demo_watchlist(space)
        assert watchlist.publish.namespace is not None  # the demo's watchlist publishes
        fill_hub(server.store, watchlist.publish.namespace)
        narrator.say(f"a Hub with {sum(1 for _ in server.store.repos())} models is at {server.endpoint}")
        with live_narrator(narrator, home, watchlist.name) as live:
            return run_cycle(watchlist, home, Hub(server.endpoint, TOKEN), live, make_evaluator)


def next_steps(folder: Path, cycle: str) -> str:
    """The commands with which a person can read the demo's results."""
    shoal = _relative_path(Path(sys.argv[0]).absolute())
    return (
        f"\nRead the cards on the local Hub:  {shoal} hub {_relative_path(folder / 'hub')}\n"
        f"and open http://127.0.0.1:{PORT} in a browser.\n"
        f"See the cycle and its reasons:  {shoal} show {cycle} --home {_relative_path(folder / 'home')}"
    )


def fill_hub(store: Store, namespace: str) -> None:
    """Put the zoo and the bot's account onto a new Hub; one with accounts stays as it is."""
    if not store.accounts.empty():
        return

    def put(
        repo: str, files: Mapping[str, bytes | Path], *, gated: bool = False, downloads: int, likes: int, created: str
    ) -> None:
        store.commit(repo, files, "Add the model", moment=datetime.fromisoformat(created))
        store.set_gated(repo, gated)
        store.set_downloads(repo, downloads)
        store.set_likes(repo, likes)

    populate(put)
    # Accounts last, so that an interrupted fill is done again.
    store.add_user(BOT_USER, TOKEN)
    store.add_org(namespace, {BOT_USER: "write"})


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _relative_path(path: Path) -> str:
    """A path relative to the current folder, where it is inside."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
