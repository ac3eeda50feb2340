"""Weights written while the next ones are merged: the bytes, the memory and the disk stay as they should."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fixtures.folders import ROOT
from merging.writing.shards import write_weights

pytestmark = pytest.mark.slow

SHAPES = {f"model.layers.{layer}.mlp.weight": (64, 32) for layer in range(40)} | {"lm_head.weight": (500, 32)}


def random_tensor(name: str, _memory: Tensor | None = None) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return torch.randn(SHAPES[name], generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.fixture
def threads() -> object:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_bytes_do_not_depend_on_the_number_of_threads(threads: Callable[[int], None], tmp_path: Path) -> None:
    hashes = []
    for count in (1, 4):
        threads(count)
        folder = tmp_path / str(count)
        folder.mkdir()
        hashes.append(write_weights(folder, SHAPES, "bfloat16", random_tensor, 20_000))
        assert torch.get_num_threads() == count
    assert hashes[0] == hashes[1]
    for name, sha in hashes[0].items():
        assert hashlib.sha256((tmp_path / "4" / name).read_bytes()).hexdigest() == sha
    read = {k: v for path in (tmp_path / "4").glob("*.safetensors") for k, v in load_file(path).items()}
    assert read.keys() == SHAPES.keys()
    assert all(torch.equal(read[name], random_tensor(name)) for name in SHAPES)


def test_several_tensors_are_merged_at_once(threads: Callable[[int], None], tmp_path: Path) -> None:
    threads(2)
    together = threading.Barrier(2, timeout=20)

    def merge(name: str, memory: Tensor) -> Tensor:
        together.wait()  # breaks unless another thread is merging at the same time
        return memory.copy_(random_tensor(name))

    shapes = {name: SHAPES[name] for name in list(SHAPES)[:10]}
    assert write_weights(tmp_path, shapes, "bfloat16", merge, 10**9)


def test_what_waits_to_be_written_takes_at_most_two_of_the_largest_tensor(
    threads: Callable[[int], None], tmp_path: Path
) -> None:
    threads(8)
    lock, begun, most = threading.Lock(), [0], [0]
    sizes = {name: 2 * a * b for name, (a, b) in SHAPES.items()}
    path = tmp_path / "model.safetensors"

    def merge(name: str, memory: Tensor) -> Tensor:
        written = path.stat().st_size if path.exists() else 0
        with lock:
            begun[0] += sizes[name]
            most[0] = max(most[0], begun[0] - written)
        time.sleep(0.001)
        return memory.copy_(random_tensor(name))

    write_weights(tmp_path, SHAPES, "bfloat16", merge, 10**9)
    assert most[0] <= 2 * max(sizes.values()) + max(sizes.values())  # and the one that is just being written


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    few, many = (int(_peak_of_a_write(layers, tmp_path / str(layers))) for layers in (3, 9))
    tensor = 4 * 10240 * 1024
    assert many - few < tensor, (few, many)
    assert many < 4 * tensor


def _peak_of_a_write(layers: int, folder: Path) -> str:
    """Anonymous memory, in bytes, that a process took at most for writing so many tensors of 40 MiB."""
    program = f"""
import threading, time, torch
from pathlib import Path
from merging.writing.shards import write_weights
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
merge = lambda name, memory: memory.fill_(0.5)
folder = Path({str(folder)!r}); folder.mkdir()
before, peak, done = anonymous(), [0], threading.Event()
def watch():
    while not done.wait(0.001):
        peak[0] = max(peak[0], anonymous())
watcher = threading.Thread(target=watch); watcher.start()
write_weights(folder, {{str(n): (10240, 1024) for n in range({layers})}}, "float32", merge, 10**9)
done.set(); watcher.join()
print(peak[0] - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=_root())
    return done.stdout


def test_memory_of_a_written_tensor_is_used_for_a_later_one(tmp_path: Path) -> None:
    places = set()

    def merge(name: str, memory: Tensor) -> Tensor:
        places.add(memory.data_ptr())
        return memory.fill_(float(name))

    shapes = {str(number): (64, 32 + number % 3) for number in range(200)}
    write_weights(tmp_path, shapes, "float32", merge, 10**9)
    assert len(places) < 40
    written = load_file(tmp_path / "model.safetensors")
    assert all(bool((written[name] == float(name)).all()) for name in shapes)


def test_a_failure_that_the_system_reports_in_the_background_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("merging.writing.shards._FLUSH_BYTES", 1000)
    monkeypatch.setattr("os.fdatasync", full)
    with pytest.raises(OSError, match="No space left"):
        write_weights(tmp_path, SHAPES, "bfloat16", random_tensor, 10**9)


def test_a_write_that_fails_begins_no_further_tensors(threads: Callable[[int], None], tmp_path: Path) -> None:
    threads(2)
    merged = []

    def merge(name: str, memory: Tensor) -> Tensor:
        merged.append(name)
        if len(merged) == 3:
            raise ValueError("the third one breaks")
        return memory.copy_(random_tensor(name))

    with pytest.raises(ValueError, match="the third one breaks"):
        write_weights(tmp_path, SHAPES, "bfloat16", merge, 10**9)
    assert len(merged) < len(SHAPES)
    assert torch.get_num_threads() == 2


def test_a_merge_that_is_killed_leaves_no_target_and_the_next_one_succeeds(tmp_path: Path) -> None:
    program = f"""
import time, torch
from pathlib import Path
from merging.writing.release import Contents, write_folder
def make(name, memory):
    if slow and int(name) == 5:
        print("half way", flush=True); time.sleep(60)
    return memory.fill_(float(name))
import sys; slow = sys.argv[1] == "slow"
shapes = {{str(n): (256, 64) for n in range(12)}}
write_folder(Path({str(tmp_path)!r}) / "merged", Contents(shapes, "float32", make, {{"config.json": b"{{}}"}}))
"""
    command = [sys.executable, "-c", program]
    process = subprocess.Popen([*command, "slow"], stdout=subprocess.PIPE, text=True, cwd=_root())
    assert process.stdout is not None
    assert process.stdout.readline() == "half way\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "merged").exists()
    subprocess.run([*command, "quick"], check=True, cwd=_root())
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    assert float(load_file(tmp_path / "merged" / "model.safetensors")["11"][0, 0]) == 11


def _root() -> Path:
    return ROOT
