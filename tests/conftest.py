"""Fixtures of all tests: a Hub client that never leaves this machine, and a local Hub to talk to."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# Before huggingface_hub is imported anywhere: it reads these once.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="shoal-tests-")
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_XET_CLIENT_RETRY_BASE_DELAY"] = "1ms"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
os.environ.pop("HF_TOKEN", None)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG

from localhub import Faults, Limits, Store, running
from localhub.webhooks.deliveries import Deliveries
from localhub.xet.storage import XetStorage

if TYPE_CHECKING:
    from huggingface_hub import HfApi

INTEGRATION = Path(__file__).parent / "integration"

# No test cuts the power, and local Hubs would wait for the disk for a tenth of the tests' time.
os.fsync = lambda _: None

# On a busy machine a server of the tests may take longer than five seconds.
for part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, part, 60.0)

atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
ADA_TOKEN = "hf_ada"
BOB_TOKEN = "hf_bob"


@dataclass(frozen=True)
class TestHub:
    """A running local Hub: user `ada` writes to herself and to the organisation `reef`, user `bob` to
    himself.

    `cache` is a download folder of the test's own.
    """

    __test__ = False

    endpoint: str
    store: Store
    faults: Faults
    cache: Path
    deliveries: Deliveries
    xet: XetStorage | None = None
    token: str = ADA_TOKEN
    other_token: str = BOB_TOKEN

    def api(self, token: str | bool | None = ADA_TOKEN) -> HfApi:
        """The genuine client; `token=False` asks without one."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=token)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TestHub]:
    """A local Hub of the test's own, empty but for its users. Large files are those above 256 KiB."""
    with run_hub(tmp_path) as running_hub:
        yield running_hub


@pytest.fixture
def xet_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestHub]:
    """The same Hub with a Xet storage, and a client that uses it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    with run_hub(tmp_path, xet=True) as running_hub:
        yield running_hub


@contextmanager
def run_hub(folder: Path, *, xet: bool = False) -> Iterator[TestHub]:
    """A running Hub in a folder."""
    limits = Limits(multipart_above=256 * 1024, part_bytes=100 * 1024)
    with running(folder / "hub", limits=limits, xet=xet) as server:
        server.store.add_user("ada", ADA_TOKEN, full_name="Ada")
        server.store.add_user("bob", BOB_TOKEN, full_name="Bob")
        server.store.add_org("reef", {"ada": "admin"})
        yield TestHub(server.endpoint, server.store, server.faults, folder / "cache", server.deliveries, server.xet)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in tests/integration as such."""
    for item in items:
        if item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.integration)
