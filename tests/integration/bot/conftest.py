"""What holds for every test of the whole bot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.shoal_process import kill_started


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    kill_started()
