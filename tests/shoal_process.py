"""`shoal` as a person starts it: a process of its own, with its output and exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from zoo_ground import NAMESPACE, small_watchlist

from bot.demo import stock_hub
from localhub import Running, running

ROOT = Path(__file__).parent.parent
HURRY = "import time; time.sleep = lambda _: None; from bot.cli.main import main; main()"
"""The command line with a clock on which no pause takes time."""


@contextmanager
def zoo_hub(folder: Path) -> Iterator[Running]:
    """A running Hub with the demo's zoo on it; `bot.demo.TOKEN` may write to `NAMESPACE`."""
    with running(folder) as server:
        stock_hub(server.store, NAMESPACE)
        yield server


def start(*arguments: object, hurry: bool = False, **options: Any) -> subprocess.Popen[str]:
    """Start `shoal` with these arguments, in a process group of its own; `token` may be given."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}
    if token := options.pop("token", None):
        environment["HF_TOKEN"] = token
    # Tests that were started in the background would pass their deafness to Ctrl-C on.
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    how = ["-c", HURRY] if hurry else ["-m", "bot.cli.main"]
    return subprocess.Popen(
        [sys.executable, *how, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def shoal(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `shoal` to its end."""
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def until(true: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait for something, as long as the process lives."""
    deadline = time.monotonic() + seconds
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it never came; the process said {process.communicate()}")
        time.sleep(0.05)


def told_fault(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The one line that tells what is wrong; there is nothing else on either stream."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("shoal: "), done.stderr
    return lines[0].removeprefix("shoal: ")


def write_watchlist(path: Path, **changed: Any) -> Path:
    """The small watchlist in a file (YAML takes JSON); `changed` as in `small_watchlist`."""
    values = small_watchlist(**changed).model_dump(mode="json", exclude_none=True)
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return path
