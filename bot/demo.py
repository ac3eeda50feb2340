"""`shoal demo`: the whole bot once, on a Hub of its own stocked with tiny specialists and things to refuse."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bot.cycle.run import run_cycle
from bot.home import Home
from bot.hub.client import Hub
from bot.lock import hold
from bot.progress import Narrator
from bot.watchlist.sections import SpaceKind
from bot.watchlist.watchlist import Watchlist, load
from localhub import Store, running
from zoo.populate import populate

WATCHLIST = Path(__file__).parent.parent / "watchlists" / "demo.yml"
BREEDER = "shoal-bot"
PORT = 8300
"""Where `shoal hub` listens too, so that the links of the demo's cards lead somewhere afterwards."""

TOKEN = "hf_demo_of_the_local_hub"
"""Good for the demo's own Hub alone, which listens on this machine only while the demo runs."""


def demo_watchlist(space: SpaceKind) -> Watchlist:
    """The demo's watchlist; in another space than that of its file it has a name of its own."""
    watchlist = load(WATCHLIST)
    if space == watchlist.search.space:
        return watchlist
    search = watchlist.search.model_copy(update={"space": space})
    return watchlist.model_copy(update={"name": f"{watchlist.name}-{space}", "search": search})


def run_demo(folder: Path, narrator: Narrator, space: SpaceKind = "parameter") -> str:
    """Stock a Hub in `folder`/hub, run the demo's watchlist against it with its home in `folder`/home.

    space: where merges are looked for. Run again, it goes on where it was interrupted, or finds that there is
    nothing new. Returns the cycle's id.
    """
    home = Home(folder / "home")
    with hold(home), running(folder / "hub", PORT if _is_free(PORT) else 0) as server:
        watchlist = demo_watchlist(space)
        assert watchlist.publish.namespace is not None  # the demo's watchlist publishes
        stock_hub(server.store, watchlist.publish.namespace)
        narrator.say(f"a Hub with {sum(1 for _ in server.store.repos())} models is up at {server.endpoint}")
        return run_cycle(watchlist, home, Hub(server.endpoint, TOKEN), narrator)


def how_to_read_on(folder: Path, cycle: str) -> str:
    """What a person can look at after the demo, and how."""
    shoal = _short(Path(sys.argv[0]).absolute())
    return (
        f"\nRead the cards where you would read them on the Hub:  {shoal} hub {_short(folder / 'hub')}\n"
        f"and open http://127.0.0.1:{PORT} in a browser.\n"
        f"The cycle with its reasons:  {shoal} show {cycle} --home {_short(folder / 'home')}"
    )


def stock_hub(store: Store, namespace: str) -> None:
    """Put the zoo and the bot's account onto a new Hub; one that is stocked stays as it is."""
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
    # Last, so that a stocking that was interrupted is done again.
    store.add_user(BREEDER, TOKEN)
    store.add_org(namespace, {BREEDER: "write"})


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _short(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
