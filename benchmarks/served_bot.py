"""A bot that is served as a person serves it: `shoal serve --page` on a local Hub with the demo's zoo."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bot.demo import TOKEN, fill_hub
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from localhub import running

ROOT = Path(__file__).parents[1]
NAMESPACE, NAME = "shoal-demo", "small"
PATIENCE = 600.0
"""Seconds after which something that should happen counts as a fault."""


def write_watchlist(path: Path, candidates: int) -> Path:
    """A watchlist of the zoo that waits for review; it runs only when it is asked to."""
    values: dict[str, Any] = {
        "name": NAME,
        "schedule": {"cron": "0 0 1 1 *"},
        "watch": {"tags": ["shoal-zoo"]},
        "task_folders": [str(ROOT / "zoo" / "tasks")],
        "skills": [
            {"name": "math", "tasks": [{"task": "zoo_math_en", "metric": "acc"}]},
            {"name": "cross", "tasks": [{"task": "zoo_math_ja", "metric": "acc"}]},
        ],
        "items": {"search": 24, "validation": 150, "report": 40},
        "search": {
            "method": "task_arithmetic",
            "groups": {"ends": "apart"},
            "dtype": "float32",
            "population": 8,
            "budget": {"candidates": candidates},
            "seed": 4,
            "racing": None,
        },
        "workers": {"count": 1, "threads": 1, "device": "cpu"},
        "gate": {"confidence": 0.5},
        "publish": {"mode": "review", "namespace": NAMESPACE, "max_releases": 2},
    }
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return path


@dataclass
class ServedBot:
    """A running `shoal serve`, and its page's address."""

    process: subprocess.Popen[bytes]
    address: str
    home: Home

    def get(self, path: str) -> str:
        """A page."""
        answer = httpx.get(self.address + path, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.text

    def send(self, path: str, **fields: str) -> int:
        """Send a form as a browser does, with the token of the first page's forms; returns the status of the answer."""
        with httpx.Client(base_url=self.address, timeout=PATIENCE) as client:
            token = re.search(r'name="token" value="([0-9a-f]+)"', client.get("/").text)
            if token is None:
                raise RuntimeError("the first page has no form")
            return client.post(path, data={"token": token[1], **fields}).status_code

    def run_now(self) -> None:
        """Ask for a cycle."""
        if (status := self.send(f"/watchlists/{NAME}/run")) != 303:
            raise RuntimeError(f"the cycle was refused: {status}")

    def finish_cycle(self) -> None:
        """Run a cycle to its end."""
        self.run_now()
        wait_until(lambda: read_state(self.home) not in (None, State.RUNNING), self.process, 0.2)

    def kill(self) -> None:
        """kill -9 of the process and all that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serve_bot(folder: Path, endpoint: str) -> Iterator[ServedBot]:
    """`shoal serve --page` on the home in a folder, until the block ends or it is killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = Home(folder / "home")
    words = ("serve", folder / "small.yml", "--home", home.folder, "--endpoint", endpoint, "--page", port)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bot", *map(str, words)],
            env=os.environ | {"HF_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    served = ServedBot(process, f"http://127.0.0.1:{port}", home)
    try:
        wait_until(lambda: _answers(served), process)
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def zoo_hub(folder: Path) -> Iterator[str]:
    """A running Hub with the demo's zoo, filled the first time; gives its address."""
    fresh = not folder.exists()
    with running(folder) as server:
        if fresh:
            fill_hub(server.store, NAMESPACE)
        yield server.endpoint


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 0.05) -> None:
    """Wait for something, looking every so many seconds; RuntimeError if it never happens or the process ends."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it never happened; the service ended with {process.poll()}")
        time.sleep(seconds)


def read_state(home: Home) -> State | None:
    """The state of a home's newest cycle; None before the first."""
    if not home.ledger.exists():
        return None
    ledger = Ledger(home.ledger)
    cycles = ledger.cycles()
    ledger.close()
    return cycles[0].state if cycles else None


def _answers(served: ServedBot) -> bool:
    try:
        return httpx.get(f"{served.address}/healthz").status_code == 200
    except httpx.TransportError:
        return False
