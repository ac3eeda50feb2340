"""The demo from an empty folder: its time, and the scores of its releases and baselines on the report split.

    python -m benchmarks demo

The time is that of `shoal demo` itself, start-up included and installation left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import Figures


def main() -> Figures:
    """Run the demo once, and print what it took and what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        cycle, seconds = timed_demo(Path(folder) / "demo")
    return {"seconds": seconds} | measured_in(cycle, seconds)


def timed_demo(folder: Path, *options: str) -> tuple[Mapping[str, Any], float]:
    """The JSON that `shoal demo` prints with some options, and the seconds that it took."""
    command = [str(Path(sys.executable).parent / "shoal"), "demo", str(folder), "--json", *options]
    started = time.monotonic()
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(answer), time.monotonic() - started


def measured_in(cycle: Mapping[str, Any], seconds: float) -> dict[str, object]:
    """What a cycle measured, of the JSON that `shoal demo` prints; prints it, too."""
    search = {key: cycle["search"][key] for key in ("candidates", "fully_scored", "item_scores")}
    models = [
        {"name": row["name"], "kind": row["kind"], "scores": [_interval(score) for score in row["scores"]]}
        for row in cycle["measured"]
    ]
    print(f"{seconds:.0f} s; {search}")
    for model in models:
        print(f"{model['kind']:12} {model['name']:30} {model['scores']}")
    return {"search": search, "skills": cycle["skills"], "models": models}


def _interval(score: dict[str, float]) -> list[float]:
    return [score["mean"], score["low"], score["high"]]


if __name__ == "__main__":
    main()
