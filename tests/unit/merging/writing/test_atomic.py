from __future__ import annotations

import os
from pathlib import Path

import pytest

from merging.writing.atomic import atomic_file, sync_data


def test_a_file_is_replaced_whole_and_a_failure_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        with atomic_file(target) as file:
            file.write(content)
    with pytest.raises(RuntimeError), atomic_file(target) as file:
        file.write(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"second"
    assert list(target.parent.iterdir()) == [target]


def test_data_is_synced_where_the_system_has_no_fdatasync(monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.delattr(os, "fdatasync")
    monkeypatch.setattr(os, "fsync", synced.append)
    sync_data(7)
    assert synced == [7]
