"""What `shoal plan` announces beside what the run takes: item scores, time and memory.

    python -m benchmarks plan [--models demo random]

For the demo's zoo, and for random bf16 Llamas of 100 M parameters that answer the demo's tasks, it plans, then runs the
same watchlist against the same local Hub. Time is that of the whole run; memory is the largest sum over all its
processes of what is not mapped from files, sampled every half second. A merge of random models never passes the gate,
so that run ends there, and is compared with the stages before.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import psutil
import yaml

from benchmarks.random_models import random_llamas
from benchmarks.record import Figures
from bot.cycle.dry_run import make_plan
from bot.demo import TOKEN, WATCHLIST, fill_hub
from bot.home import Home
from bot.hub.client import Hub
from bot.watchlist.load import load_watchlist
from localhub import Store, running
from zoo.repo import WEIGHTS

AFTER_THE_GATE = ("written releases, validation split", "releases and baselines, report split")
OWNER = "reef"


def main() -> Figures:
    """Plan and run, and print both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks plan")
    parser.add_argument("--models", nargs="+", choices=("demo", "random"), default=["demo", "random"])
    parser.add_argument("--candidates", type=int, default=20, help="of the random models")
    asked = parser.parse_args()
    return {"runs": [compare(name, asked.candidates) for name in asked.models]}


def compare(models: str, candidates: int) -> Figures:
    """Plan and run once."""
    with tempfile.TemporaryDirectory(prefix="shoal-") as place:
        folder = Path(place)
        with running(folder / "hub") as server:
            watchlist = WATCHLIST if models == "demo" else random_watchlist(folder, candidates)
            fill_hub(server.store, "shoal-demo")
            if models == "random":
                publish_random(server.store, folder)
            plan = make_plan(Hub(server.endpoint, TOKEN), load_watchlist(watchlist), datetime.now(UTC))
            assert plan.cost is not None, plan.refusal
            home = folder / "home"
            command = ["run", str(watchlist), "--home", str(home), "--endpoint", server.endpoint]
            seconds, memory = run_watched([sys.executable, "-m", "bot", *command])
        stages = [one for one in plan.cost.stages if models == "demo" or one.stage not in AFTER_THE_GATE]
        figures = {
            "models": "the demo's zoo" if models == "demo" else "random, 102 M",
            "parameters_bytes": plan.cost.largest,
            "planned": {
                "item_scores": sum(stage.item_scores for stage in stages),
                "seconds": sum(stage.seconds or 0.0 for stage in stages),
                "memory": plan.cost.memory,
            },
            "taken": {"item_scores": count_item_scores(home), "seconds": seconds, "memory": memory},
        }
    print(figures)
    return figures


def random_watchlist(folder: Path, candidates: int) -> Path:
    """The demo's watchlist for the random models, with fewer items."""
    values = yaml.safe_load(WATCHLIST.read_text(encoding="utf-8"))
    values["task_folders"] = [str((WATCHLIST.parent / path).resolve()) for path in values["task_folders"]]
    values |= {
        "name": "random",
        "watch": {"tags": ["shoal-random"]},
        "base": {"repo": f"{OWNER}/model-0"},
        "items": {"search": 32, "validation": 48, "report": 48},
        "publish": {"mode": "off"},
    }
    del values["schedule"]
    values["search"] |= {"dtype": "bfloat16", "population": 8, "budget": {"candidates": candidates}}
    path = folder / "random.yml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def publish_random(store: Store, folder: Path) -> None:
    """Put three random models with the zoo's tokenizer on the Hub."""
    card = f"---\nlicense: mit\nlibrary_name: transformers\ntags: [shoal-random]\nbase_model: {OWNER}/model-0\n---\n"
    for path in random_llamas(folder / "random"):
        files: dict[str, bytes | Path] = {file.name: file for file in path.iterdir()}
        files |= {name: WEIGHTS / "base" / name for name in ("tokenizer.json", "tokenizer_config.json")}
        store.commit(f"{OWNER}/{path.name}", files | {"README.md": card.encode()}, "Add the model")
        store.set_downloads(f"{OWNER}/{path.name}", 1000)


def run_watched(command: Sequence[str], stdout: IO[str] | None = None) -> tuple[float, int]:
    """Run a command; returns its seconds and the most memory that its processes had at once."""
    started, most = time.monotonic(), 0
    with subprocess.Popen(command, stdout=stdout, env={**os.environ, "HF_TOKEN": TOKEN}) as process:
        while process.poll() is None:
            most = max(most, own_bytes(psutil.Process(process.pid)))
            time.sleep(0.5)
    return time.monotonic() - started, most


def own_bytes(root: psutil.Process) -> int:
    """Bytes of a process and its descendants that no file holds; pages that several share count once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with suppress(OSError):
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return 1024 * total


def count_item_scores(home: Path) -> int:
    """Item scores in the ledger."""
    with closing(sqlite3.connect(Home(home).ledger)) as ledger:
        ((count,),) = ledger.execute("SELECT count(*) FROM item_scores").fetchall()
    return int(count)


if __name__ == "__main__":
    main()
