"""What tests of whole cycles start from: a stocked Hub, a copy of it for each test, and an empty home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.home import Home
from fixtures import cycles
from localhub import Running


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stocked") / "hub"
    cycles.stock(folder)
    return folder


@pytest.fixture
def server(stocked: Path, tmp_path: Path) -> Iterator[Running]:
    with cycles.copy_of(stocked, tmp_path / "hub") as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")
