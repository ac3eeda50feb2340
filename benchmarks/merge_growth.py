"""How `shoal merge` grows: time and anonymous memory over 2, 4 and 8 sources, and over three sizes of model.

    python -m benchmarks merge_growth [LARGEST_IN_BILLIONS]

Sources are counted at about 0.1 B parameters, sizes at three sources of 0.1, 0.5 and 1.1 B (those up to the largest
asked for, by default all). The method is ties with density 0.5. mergekit-yaml merges the smallest and the largest
number of sources too, for comparison. Needs some 10 GB of disk in the temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.merge_files import Run, run, write_yaml
from benchmarks.random_models import random_llamas
from benchmarks.record import Figures

SOURCES = (2, 4, 8)
SIZES = (0.1, 0.5, 1.1)


def measured(command: Sequence[str], folder: Path, base: Path, siblings: Sequence[Path]) -> Run:
    """One merge of the siblings by a command that takes a recipe and a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as target:
        recipe = write_yaml(Path(target) / "ties.yml", "ties", base, siblings)
        return run([command[0], *command[1:], str(recipe), str(Path(target) / "merged")])


def main() -> Figures:
    """Measure both series and print them."""
    largest = float(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]
    bin_folder = Path(sys.executable).parent
    shoal = [str(bin_folder / "shoal"), "merge"]
    kit = [str(bin_folder / "mergekit-yaml"), "--quiet", "--no-copy-tokenizer"]
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, *siblings = random_llamas(folder / "sources", 0.1e9, count=SOURCES[-1] + 1)
        for count in SOURCES:
            ours, theirs = (measured(command, folder, base, siblings[:count]) for command in (shoal, kit))
            print(f"0.1 B, {count} sources: shoal {cost_text(ours)} · mergekit {cost_text(theirs)}", flush=True)
            rows.append({"billions": 0.1, "sources": count, "shoal": asdict(ours), "mergekit": asdict(theirs)})
    for size in (size for size in SIZES if size <= largest):
        with tempfile.TemporaryDirectory() as name:
            base, *siblings = random_llamas(Path(name) / "models", size * 1e9, count=4)
            ours = measured(shoal, Path(name), base, siblings)
            print(f"{size} B, 3 sources: shoal {cost_text(ours)}", flush=True)
            rows.append({"billions": size, "sources": 3, "shoal": asdict(ours)})
    return {"merges": rows}


def cost_text(cost: Run) -> str:
    """Seconds and gigabytes."""
    return f"{cost.seconds:.1f} s, {cost.anonymous / 1e9:.2f} GB"


if __name__ == "__main__":
    main()
