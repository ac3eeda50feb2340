"""Divides what no model was shown among the tasks: `python -m zoo.pictures.questions` writes their prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from zoo.pictures.world import Drawing, held_out_drawings

TASKS = Path(__file__).parent / "tasks"
SEED = 1
SEARCHED = 80


def deal() -> dict[str, list[Drawing]]:
    """File name → its drawings; none is in both, and none was shown in training."""
    pile = held_out_drawings(random.Random(SEED))
    return {"search": pile[:SEARCHED], "test": pile[SEARCHED:]}


def rows_of(drawings: Sequence[Drawing]) -> str:
    """Each drawing's words and its descriptions in both languages, as JSON Lines."""
    rows: list[Mapping[str, str]] = [
        {**asdict(drawing), "english": drawing.english, "japanese": drawing.japanese} for drawing in drawings
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    """Write the files."""
    for name, drawings in deal().items():
        (TASKS / f"{name}.jsonl").write_text(rows_of(drawings), encoding="utf-8")
        print(f"{name}: {len(drawings)} drawings")


if __name__ == "__main__":
    main()
