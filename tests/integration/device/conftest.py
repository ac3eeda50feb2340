"""Tests of all that a GPU does. Without one they are skipped; SHOAL_TEST_DEVICE=cpu runs them on the CPU."""

from __future__ import annotations

import os

import pytest
import torch

from fixtures.stocked import server, stocked

__all__ = ["device", "server", "stocked"]


@pytest.fixture(scope="session")
def device() -> str:
    """The device under test: a GPU, or the one that SHOAL_TEST_DEVICE names."""
    named = os.environ.get("SHOAL_TEST_DEVICE", "cuda")
    if named == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here (SHOAL_TEST_DEVICE=cpu runs these tests on the CPU)")
    return named
