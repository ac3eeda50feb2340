"""Divides held-out boards among the tasks' files: `python -m zoo.vision.questions` writes zoo/tasks/vision_*.

The pictures of a file stand in one sheet of the same name, row by row in the order of its lines.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from PIL import Image

from zoo.questions import TASKS
from zoo.vision.world import ENGLISH, JAPANESE, SIDE, Board, Picture, held_out_boards

SEED = 1
SHEET_COLUMNS = 40
"""The pictures in a row of a sheet."""

FILES: Mapping[str, int] = {
    "vision_captions": 1600,
    "vision_cross_search": 400,
    "vision_cross_test": 1000,
    "vision_translation_search": 400,
    "vision_translation_test": 1000,
}
"""File → how many boards it has."""


def deal() -> Iterator[tuple[str, list[Board]]]:
    """File name and boards of each file; no board is in two files, or twice in one."""
    pile = held_out_boards(random.Random(SEED))
    for name, count in FILES.items():
        yield name, list(islice(pile, count))


def lines_of(boards: Sequence[Board]) -> str:
    """Each board's captions in both languages, as JSON Lines."""
    told = ({"english": board.caption(ENGLISH), "japanese": board.caption(JAPANESE)} for board in boards)
    return "".join(json.dumps(captions, ensure_ascii=False) + "\n" for captions in told)


def sheet_of(name: str, boards: Sequence[Board]) -> Picture:
    """The boards' pictures side by side: pixels [rows × SIDE, SHEET_COLUMNS × SIDE, 3]."""
    rng = random.Random(f"{SEED} {name}")
    rows = -(-len(boards) // SHEET_COLUMNS)
    sheet = np.zeros((rows * SIDE, SHEET_COLUMNS * SIDE, 3), np.uint8)
    for number, board in enumerate(boards):
        row, column = divmod(number, SHEET_COLUMNS)
        sheet[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = board.picture(rng)
    return sheet


def main() -> None:
    """Write the files."""
    for name, boards in deal():
        (TASKS / f"{name}.jsonl").write_text(lines_of(boards), encoding="utf-8")
        Image.fromarray(sheet_of(name, boards)).save(TASKS / f"{name}.png", optimize=True)
        print(f"{name}: {len(boards)} boards")


if __name__ == "__main__":
    main()
