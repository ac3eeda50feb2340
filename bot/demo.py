"""`shoal demo`: the whole bot once, on a Hub of its own stocked with tiny specialists and things to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bot.cycle import run_cycle
from bot.home import Home
from bot.hub import Hub
from bot.lock import hold
from bot.progress import Narrator
from bot.watchlist.model import load
from localhub import Store, running
from zoo.populate import populate

WATCHLIST = Path(__file__).parent.parent / "watchlists" / "demo.yml"
BREEDER = "shoal-bot"
TOKEN = "hf_demo_of_the_local_hub"
"""Good for the demo's own Hub alone, which listens on this machine only while the demo runs."""


def run_demo(folder: Path, narrator: Narrator) -> str:
    """Stock a Hub in `folder`/hub, run the demo's watchlist against it with its home in `folder`/home.

    Run again, it goes on where it was interrupted, or finds that there is nothing new. Returns the cycle's id.
    """
    home = Home(folder / "home")
    with hold(home), running(folder / "hub") as server:
        watchlist = load(WATCHLIST)
        assert watchlist.publish.namespace is not None  # the demo's watchlist publishes
        stock_hub(server.store, watchlist.publish.namespace)
        narrator.say(f"a Hub with {sum(1 for _ in server.store.repos())} models is up at {server.endpoint}")
        cycle = run_cycle(watchlist, home, Hub(server.endpoint, TOKEN), narrator)
    narrator.say(
        f"\nRead the cards where you would read them on the Hub:  shoal hub {_short(folder / 'hub')}\n"
        f"and open http://127.0.0.1:8300 in a browser.  The cycle in full:  shoal show {cycle} --home {_short(home.folder)}"
    )
    return cycle


def stock_hub(store: Store, namespace: str) -> None:
    """Put the zoo and the bot's account onto a new Hub; one that is stocked stays as it is."""
    if not store.accounts.empty():
        return

    def put(
        repo: str, files: Mapping[str, bytes | Path], *, gated: bool = False, downloads: int, likes: int, created: str
    ) -> None:
        store.commit(repo, files, "Add the model")
        store.set_gated(repo, gated)
        store.set_downloads(repo, downloads)
        store.set_likes(repo, likes)
        store.set_created_at(repo, datetime.fromisoformat(created))

    populate(put)
    # Last, so that a stocking that was interrupted is done again.
    store.add_user(BREEDER, TOKEN)
    store.add_org(namespace, {BREEDER: "write"})


def _short(path: Path) -> str:
    """A path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
