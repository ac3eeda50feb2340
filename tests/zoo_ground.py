"""The ground of the tests of whole cycles: a local Hub stocked with the demo's zoo, a small watchlist, and a process
that runs a cycle and dies where it is told.

`python tests/zoo_ground.py ENDPOINT HOME WATCHLIST POINT` runs one cycle; POINT is one of `POINTS`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bot.release.review
from bot.cycle.run import run_cycle
from bot.demo import TOKEN, stock_hub
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, ReleaseEntry
from bot.progress import Advance
from bot.scoring.process_pool import ProcessPool
from bot.scoring.worker import WorkerSpec
from bot.watchlist.watchlist import Watchlist
from localhub import Running, running

NAMESPACE = "shoal-demo"
MATH, LANGUAGE, BASE = "abacus-works/minnow-math", "kotoba-lab/minnow-kotoba", "tidepool/minnow-base"
SCORED_BEFORE_DEATH = 9
SEARCH, VALIDATION, REPORT = 24, 150, 40  # items of each task
SEED = 4  # one whose search leads to two releases, by a wide margin
ROOT = Path(__file__).parent.parent

SMALL: dict[str, Any] = {
    "name": "small",
    "watch": {"tags": ["shoal-zoo"]},
    "task_folders": [str(ROOT / "zoo" / "tasks")],
    "skills": [
        {"name": "math", "tasks": [{"task": "zoo_math_en", "metric": "acc"}]},
        {"name": "cross", "tasks": [{"task": "zoo_math_ja", "metric": "acc"}]},
    ],
    "items": {"search": SEARCH, "validation": VALIDATION, "report": REPORT},
    "search": {
        "method": "task_arithmetic",
        "groups": {"ends": "apart"},
        "dtype": "float32",
        "population": 8,
        "budget": {"candidates": 40},
        "seed": SEED,
        "racing": None,  # a few items tell little: `test_bot_race` and the demo's test have the race
    },
    "workers": {"count": 1, "threads": 1, "device": "cpu"},
    "gate": {"confidence": 0.5},
    "publish": {"mode": "auto", "namespace": NAMESPACE, "collection": "Small merges", "max_releases": 2},
}


def small_watchlist(**changed: Any) -> Watchlist:
    """The small watchlist; `changed` replaces a key's value, or some keys of a section."""
    values = json.loads(json.dumps(SMALL))
    for key, value in changed.items():
        values[key] = values[key] | value if isinstance(value, dict) and key in values else value
    return Watchlist.model_validate_json(json.dumps(values))


def stock(folder: Path) -> None:
    """Put the zoo on a Hub's folder."""
    with running(folder) as server:
        stock_hub(server.store, NAMESPACE)


@contextmanager
def copy_of(stocked: Path, folder: Path) -> Iterator[Running]:
    """A Hub of one's own with the same commits as the stocked one."""
    shutil.copytree(stocked, folder)
    with running(folder) as server:
        yield server


def client(server: Running, token: str = TOKEN) -> Hub:
    """The bot's own client, which does not wait before it tries again."""
    return Hub(server.endpoint, token, sleep=lambda _: None)


@dataclass
class Listener:
    """A narrator who shows nothing and keeps what was said."""

    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)

    @contextmanager
    def bar(self, title: str, total: int | None, *, in_bytes: bool = False) -> Iterator[Advance]:  # noqa: ARG002
        """Show nothing."""
        yield lambda _done, _words="": None


def commits(server: Running, repo: str) -> list[str]:
    """Titles of a repo's commits, newest first."""
    return [commit.title for commit in client(server).api.list_repo_commits(repo)]


def published(server: Running) -> dict[str, list[str]]:
    """The repos that the bot created, with their commits' titles."""
    api = client(server).api
    names = sorted(info.id for info in api.list_models(author=NAMESPACE))
    return {name: commits(server, name) for name in names if name != f"{NAMESPACE}/minnow-merge-earlier"}


class Company:
    """Workers that stay from cycle to cycle, for starting them takes longer than a small search.

    They hold the folders of the first home that needed them; every home's sources are the same bytes.
    """

    def __init__(self) -> None:
        self._all = ExitStack()
        self._kept: dict[WorkerSpec, ProcessPool] = {}

    @contextmanager
    def hire(self, spec: WorkerSpec, timeout: float | None) -> Iterator[ProcessPool]:
        """In place of `Workers(bench, timeout)`."""
        key = replace(spec, checkpoints=tuple((source, Path()) for source, _ in spec.checkpoints))
        if key not in self._kept:
            self._kept[key] = self._all.enter_context(ProcessPool(spec, timeout))
        yield self._kept[key]

    def close(self) -> None:
        """Send them home."""
        self._all.close()


# -- a process that dies ------------------------------------------------------------------------------------------


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _in_the_search() -> None:
    genuine, seen = Ledger.record_evaluation, []

    def record(self: Ledger, *arguments: Any) -> None:
        genuine(self, *arguments)
        seen.append(arguments)
        if len(seen) == SCORED_BEFORE_DEATH:
            _die()

    Ledger.record_evaluation = record  # type: ignore[method-assign]


def _before_the_upload() -> None:
    bot.release.review.publish = _die  # type: ignore[assignment]


def _before_the_record() -> None:
    """Between the Hub's commit and the ledger's word of it."""
    genuine = Ledger.record_release

    def record(self: Ledger, release: ReleaseEntry, published: Any) -> None:
        if release.commit:
            _die()
        genuine(self, release, published)

    Ledger.record_release = record  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "never": lambda: None,
    "in the search": _in_the_search,
    "before the upload": _before_the_upload,
    "before the record": _before_the_record,
}


def start_process(server: Running, home: Home, watchlist: Watchlist, point: str = "never") -> subprocess.Popen[bytes]:
    """Start a cycle in a process, and a process group, of its own."""
    file = home.folder.with_suffix(".json")
    file.write_text(watchlist.model_dump_json())
    command = [sys.executable, __file__, server.endpoint, str(home.folder), str(file), point]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL, preexec_fn=_hear_interrupts
    )


def _hear_interrupts() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, and their children with them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main(endpoint: str, home: str, watchlist: str, point: str) -> None:
    """Run a cycle and die where told."""
    POINTS[point]()
    wanted = Watchlist.model_validate_json(Path(watchlist).read_bytes())
    run_cycle(wanted, Home(Path(home)), Hub(endpoint, TOKEN), Listener())


if __name__ == "__main__":
    main(*sys.argv[1:])
