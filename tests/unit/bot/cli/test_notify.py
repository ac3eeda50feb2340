"""`shoal notify`, without a process of its own."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from fixtures.shoal_here import Run


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_without_addresses_the_error_says_where_to_write_them(
    shoal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOAL_NOTIFY", raising=False)
    status, out, err = shoal("notify", "--home", str(tmp_path))
    assert (status, out) == (1, "")
    assert err == f"shoal: SHOAL_NOTIFY: got no addresses, and none in {tmp_path}/notify: write some into either\n"


def test_addresses_are_listed_without_their_secrets_and_nothing_is_sent(
    shoal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_NOTIFY", f"json://me:s3cret@127.0.0.1:{closed_port()}/p4th xml://127.0.0.1:1")
    status, out, err = shoal("notify", "--home", str(tmp_path))
    assert (status, err) == (0, "")
    assert [line.rpartition(":")[0] for line in out.splitlines()] == ["json://me:****@127.0.0.1", "xml://127.0.0.1"]
    assert "s3cret" not in out and "p4th" not in out


def test_a_test_message_that_is_lost_is_an_error(shoal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_NOTIFY", f"json://me:s3cret@127.0.0.1:{closed_port()}/x")
    status, out, err = shoal("notify", "--test", "--json", "--home", str(tmp_path))
    assert status == 1
    (address,) = json.loads(out)["addresses"]
    assert address["address"].startswith("json://me:****@") and address["fault"]
    assert err == "shoal: 1 of 1 test messages did not arrive; correct the addresses\n"
    assert "s3cret" not in out
