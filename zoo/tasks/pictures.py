"""Loads the data of the task files with pictures in this folder, from wherever lm-eval is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from PIL import Image

SIDE = 40
"""The pixels of a picture's side."""


def load(*, test: str, search: str | None = None, **_metadata: object) -> DatasetDict:
    """Read the splits, each from a JSON Lines file next to this module and the sheet of its pictures.

    lm-eval also passes the task's metadata; on its command line, all arguments of the model are among them.
    """
    names = {"test": test} if search is None else {"search": search, "test": test}
    return DatasetDict({split: Dataset.from_list(_rows(name)) for split, name in names.items()})


def _rows(name: str) -> list[dict[str, Any]]:
    """The lines of a file, each with its `image`: the next one of the sheet, row by row."""
    folder = Path(__file__).parent
    lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
    with Image.open(folder / f"{name}.png") as sheet:
        across = sheet.width // SIDE
        corners = [(number % across * SIDE, number // across * SIDE) for number in range(len(lines))]
        pictures = [sheet.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]
    return [{**json.loads(line), "image": picture} for line, picture in zip(lines, pictures, strict=True)]
