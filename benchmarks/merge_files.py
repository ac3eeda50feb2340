"""`shoal merge` against `mergekit-yaml` on the same YAML files: wall time, anonymous memory, and the way to the floor.

    python -m benchmarks merge_files [BILLIONS_OF_PARAMETERS [METHOD …]]

Three random bf16 siblings and their base are made in a temporary folder (0.5 by default; about 0.1, 0.5 and 1.1 are to
be had, the last takes some 20 GB of disk), and merged by linear, slerp, dare_ties and ties. Each side is a command of
its own, start-up included. Anonymous memory is the peak of RssAnon of /proc, sampled: the pages of mapped files are
not in it. Both sides merge once before anything is measured: shoal asks transformers about models of a config but once
and keeps the answers; how long its first merge took is told. The floor is the time to read the sources once, and write
as many bytes as the result has and see them onto the disk. Where no random numbers are drawn the results are compared:
the share of values that differ, and by how much at most.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open

from benchmarks.random_models import random_llamas
from benchmarks.record import Figures
from zoo.repo import BASE, MODELS

METHODS: dict[str, dict[str, Any]] = {
    "linear": {},
    "slerp": {"t": 0.4},
    "dare_ties": {"density": 0.5, "normalize": False},
    "ties": {"density": 0.5, "normalize": False},
}
SAMPLE_SECONDS = 0.02
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Run:
    """One command's cost: wall seconds, and the peak of its anonymous memory in bytes."""

    seconds: float
    anonymous: int


class Stopped(SystemExit):
    """A command that failed; what it printed is shown where nobody catches this. run: its cost until then."""

    def __init__(self, command: Sequence[str], printed: str, run: Run) -> None:
        super().__init__(f"{' '.join(command)}\n{printed[-2000:]}")
        self.run = run


def run(command: Sequence[str]) -> Run:
    """Run a command and watch its memory; Stopped if it fails."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous_memory(process.pid))
            time.sleep(SAMPLE_SECONDS)
        found = Run(time.monotonic() - started, peak)
        if process.returncode:
            output.seek(0)
            raise Stopped(command, output.read().decode(), found)
    return found


def anonymous_memory(pid: int | str = "self") -> int:
    """Bytes of a process's anonymous memory, which mapped files are not in."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def write_yaml(path: Path, method: str, base: Path, siblings: Sequence[Path]) -> Path:
    """A merge of the siblings: two of them for slerp, else three."""
    merged = siblings[:2] if method == "slerp" else siblings
    weight = {} if method == "slerp" else {"parameters": {"weight": 0.4}}
    config: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": str(folder), **weight} for folder in merged],
        "parameters": METHODS[method],
        "dtype": "bfloat16",
    }
    if method != "linear":
        config["base_model"] = str(siblings[0] if method == "slerp" else base)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def floor(sources: Sequence[Path], target: Path) -> float:
    """Seconds to read the sources and write a result's bytes onto the disk."""
    started = time.monotonic()
    buffer = bytearray(1 << 24)
    for source in sources:
        with (source / "model.safetensors").open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    left = (sources[0] / "model.safetensors").stat().st_size
    with target.open("wb", buffering=0) as file:
        while left > 0:
            left -= file.write(memoryview(buffer)[: min(left, len(buffer))])
        os.fsync(file.fileno())
    target.unlink()
    return time.monotonic() - started


def difference(ours: Path, theirs: Path) -> str:
    """How far two results lie apart."""
    found = {name: path for path in theirs.glob("*.safetensors") for name in _names(path)}
    differing = count = 0
    most = 0.0
    with safe_open(ours / "model.safetensors", framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  (no mapping)
            with safe_open(found[name], framework="pt") as other:
                apart = (file.get_tensor(name).float() - other.get_tensor(name).float()).abs()
            differing += int((apart > 0).sum())
            count += apart.numel()
            most = max(most, float(apart.max()))
    return f"{differing / count:.2%} of the values differ, by {most:.1e} at most"


def _names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def ours(recipe: Path, target: Path) -> Run:
    """shoal's merge."""
    return run([str(_BIN / "shoal"), "merge", str(recipe), str(target), "--home", str(target.parent / "home")])


def theirs(recipe: Path, target: Path, *options: str) -> Run:
    """mergekit's merge."""
    return run([str(_BIN / "mergekit-yaml"), str(recipe), str(target), "--quiet", "--no-copy-tokenizer", *options])


def warm_up(base: Path, siblings: Sequence[Path], folder: Path) -> float:
    """Have both merge once; returns the seconds of shoal's first merge."""
    recipe = write_yaml(folder / "first.yml", "linear", base, siblings)
    targets = folder / "ours", folder / "theirs"
    seconds = ours(recipe, targets[0]).seconds
    print(f"first merge of models of this config: {seconds:.1f} s", flush=True)
    theirs(recipe, targets[1])
    for target in targets:
        shutil.rmtree(target)
    return seconds


def compare(method: str, base: Path, siblings: Sequence[Path], folder: Path) -> Figures:
    """Measure both on one method, print a line, and return its figures."""
    recipe = write_yaml(folder / f"{method}.yml", method, base, siblings)
    targets = folder / "ours", folder / "theirs"
    shoal, kit = ours(recipe, targets[0]), theirs(recipe, targets[1])
    read = siblings[:2] if method == "slerp" else siblings if method == "linear" else [base, *siblings]
    least = floor(read, folder / "floor")
    print(
        f"{method:10s} shoal {shoal.seconds:6.1f} s {shoal.anonymous / 1e9:5.2f} GB · mergekit {kit.seconds:6.1f} s "
        f"{kit.anonymous / 1e9:5.2f} GB · {kit.seconds / shoal.seconds:5.1f} times as fast, "
        f"{shoal.anonymous / kit.anonymous:.2f} of the memory · floor {least:.1f} s, "
        f"{shoal.seconds / least:.1f} times that",
        flush=True,
    )
    if method != "dare_ties":
        why = " (mergekit sums differences in bf16)" if method == "ties" else ""
        print(f"{'':10s} {difference(*targets)}{why}", flush=True)
    for target in targets:
        shutil.rmtree(target)
    return {"method": method, "shoal": asdict(shoal), "mergekit": asdict(kit), "floor_s": least}


def main() -> Figures:
    """Make the models and compare the methods asked for."""
    billions = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    methods = sys.argv[2:] or list(METHODS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, *siblings = random_llamas(folder / "models", billions * 1e9, count=4)
        for model in (base, *siblings):
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (model / file).write_bytes((MODELS[BASE] / file).read_bytes())
        size = (base / "model.safetensors").stat().st_size
        print(f"{size / 2e9:.2f} B parameters, bf16, {torch.get_num_threads()} threads")
        first = warm_up(base, siblings, folder)
        rows = [compare(method, base, siblings, folder) for method in methods]
    return {"billions": size / 2e9, "first_merge_s": first, "merges": rows}


if __name__ == "__main__":
    main()
