"""A measurement as a file: its figures, with the command, the machine, the commit and the date they belong to."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

Figures = Mapping[str, object]
"""Plain JSON values, named."""


def save(name: str, arguments: Sequence[str], figures: Figures, folder: Path = RESULTS) -> Path:
    """Write what a benchmark measured to `folder`/`name`.json; returns the file."""
    record = {
        "command": f"python -m benchmarks {shlex.join(arguments)}",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": _machine(),
        "figures": figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def load(name: str, folder: Path = RESULTS) -> dict[str, object]:
    """The figures of a saved measurement."""
    found: dict[str, object] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["figures"]
    return found


def _commit() -> str:
    """The commit that was measured; "+" behind it says that files had been changed since."""
    head = _ask_git("rev-parse", "--short=12", "HEAD")
    changed = _ask_git("status", "--porcelain", "--untracked-files=no")
    return f"{head or 'unknown'}{'+' if changed else ''}"


def _ask_git(*command: str) -> str:
    root = Path(__file__).parents[1]
    try:
        return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git here
        return ""


def _machine() -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpu": _gpu(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "transformers", "lm_eval", "mergekit")},
    }


def _gpu() -> str | None:
    """The GPU, with CUDA's version; None where torch sees none."""
    import torch

    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}" if torch.cuda.is_available() else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
