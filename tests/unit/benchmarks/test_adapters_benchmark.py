"""The benchmark of adapters, at a small size: both sides merge by the same recipes, and are measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import adapters
from benchmarks.random_models import random_llamas
from merging.sources.adapter import AdapterCheckpoint
from merging.sources.checkpoint import Checkpoint
from merging.writing.differences import store_differences


@pytest.mark.slow
def test_both_sides_become_candidates_and_adapters_read_what_is_stored(tmp_path: Path) -> None:
    base, *_ = random_llamas(tmp_path, 0.02e9, count=1 + adapters.SOURCES)
    for number in range(adapters.SOURCES):
        folder = adapters.write_adapter(base, tmp_path / f"adapter-{number}", rank=2, seed=number)
        store_differences(AdapterCheckpoint.open(Checkpoint.open(base), folder), tmp_path / f"adapter-{number}-stored")
    threads = torch.get_num_threads()
    try:
        found = {kind: adapters.measure(tmp_path, kind, "ties", 2) for kind in ("whole", "adapters")}
    finally:
        torch.set_num_threads(threads)
    assert all(one["seconds"] > 0 and one["bytes"] > 2**20 for one in found.values())
