"""The engine's tests run on one thread and keep lm-eval quiet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from evaluation.harness.process_state import quiet


@pytest.fixture(scope="module", autouse=True)
def one_quiet_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with quiet():
        yield
    torch.set_num_threads(before)
