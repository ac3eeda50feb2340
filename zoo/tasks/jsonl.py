"""Loads the data of the task files in this folder, from wherever lm-eval is started.

`datasets` looks up a task's relative data files in the working directory, and this module beside itself.
"""

from __future__ import annotations

import json
from pathlib import Path

from datasets import Dataset, DatasetDict


def load(*, test: str, search: str | None = None, **_metadata: object) -> DatasetDict:
    """Read the splits, each from a JSON Lines file next to this module.

    lm-eval also passes the task's metadata; on its command line, all arguments of the model are among them.
    """
    files = {"test": test} if search is None else {"search": search, "test": test}
    folder = Path(__file__).parent
    return DatasetDict(
        {
            split: Dataset.from_list(list(map(json.loads, (folder / name).read_text("utf-8").splitlines())))
            for split, name in files.items()
        }
    )
