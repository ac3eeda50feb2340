"""Conversions by the genuine process: the same files as transformers writes, and what the process cannot do."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import merging.pickles.conversion as conversion
from fixtures.pickles import pickled
from fixtures.tiny_models import tiny_model
from merging.errors import MergingError
from merging.pickles.conversion import ConverterFailed, convert_pickles
from merging.pickles.converter import REPORT
from merging.sources.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

LINUX = sys.platform == "linux"


def saved(folder: Path, kind: str, shards: int = 1, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """Save a tiny model as older versions of transformers did; returns the tensors that they write to safetensors."""
    model = tiny_model(kind, seed=1)
    model.save_pretrained(folder)
    expected: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state = {**model.state_dict(), **extra}
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return expected
    names = [f"pytorch_model-{number:05d}-of-{shards:05d}.bin" for number in range(1, shards + 1)]
    weight_map = {name: names[position * shards // len(state)] for position, name in enumerate(state)}
    weight_map["lm_head.weight"] = names[0]  # with the embedding, to whose memory it is tied
    for file in names:
        torch.save({name: state[name] for name in state if weight_map[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return expected


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_tied_head_and_old_buffers_are_left_out_as_transformers_does(tmp_path: Path) -> None:
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    expected = saved(tmp_path, "llama-tied", **buffers)
    assert "lm_head.weight" not in expected
    convert_pickles(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    assert same(load_file(tmp_path / "model.safetensors"), expected)


def test_shards_are_converted_one_by_one_with_an_index(tmp_path: Path) -> None:
    expected = saved(tmp_path, "gpt2", shards=2)
    convert_pickles(tmp_path)
    assert {path.name for path in tmp_path.glob("*model*")} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    }
    checkpoint = Checkpoint.open(tmp_path)
    checkpoint.verify()
    assert same({name: checkpoint.tensor(name) for name in checkpoint.names}, expected)
    assert type(tiny_model("gpt2", seed=2)).from_pretrained(tmp_path).config.n_embd == 32


@pytest.mark.parametrize(
    ("kind", "state", "reason"),
    [
        ("llama", {"lm_head.weight": "model.embed_tokens.weight"}, "share their memory, and the config does not tie"),
        ("llama-tied", {"model.norm.weight": "model.layers.0.input_layernorm.weight"}, "share their memory"),
    ],
)
def test_memory_that_is_shared_without_a_tie_is_refused_by_name(
    tmp_path: Path, kind: str, state: dict[str, str], reason: str
) -> None:
    saved(tmp_path, kind)
    tensors = torch.load(tmp_path / "pytorch_model.bin")
    before = pickled({**tensors, **{name: tensors[other] for name, other in state.items()}})
    (tmp_path / "pytorch_model.bin").write_bytes(before)
    with pytest.raises(MergingError, match=f"pytorch_model.bin: .* and .* {reason}"):
        convert_pickles(tmp_path)
    assert (tmp_path / "pytorch_model.bin").read_bytes() == before and not (tmp_path / ".conversion").exists()


TAKEN_OVER = """
import json, os, sys
job = json.load(sys.stdin)
sys.path[:] = job["path"]
from pathlib import Path
import torch
from merging.pickles import converter
def take_over(*_, **__):
    import socket, subprocess
    folder = Path(job["folder"])
    def tried(deed):
        try:
            deed()
        except Exception:
            return False
        return True
    did = {
        "reach the network": tried(lambda: socket.create_connection(("127.0.0.1", PORT), 1)),
        "write other files": tried(lambda: Path("OUTSIDE/new").write_text("x"))
        or tried(lambda: (folder.parent / "config.json").write_text("x")),
        "read other files": tried(lambda: Path("OUTSIDE/token").read_text()),
        "start processes": tried(lambda: subprocess.run([sys.executable, "-c", "0"], check=True)),
    }
    Path(job["folder"], "diary.json").write_text(json.dumps({"did": did, "environment": sorted(os.environ)}))
    raise ValueError(json.dumps(did))
torch.load = take_over
converter.main(job)
"""


def test_a_process_that_was_taken_over_can_do_no_more_than_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, outside = tmp_path / "model", tmp_path / "outside"
    saved(folder, "llama")
    outside.mkdir()
    (outside / "token").write_text("secret")
    kept: dict[str, Any] = {}
    read_report = conversion._read_report

    def keep(workshop: Path, status: int) -> tuple[str, ...]:
        kept.update(json.loads((workshop / "diary.json").read_text()), **json.loads((workshop / REPORT).read_text()))
        return read_report(workshop, status)

    monkeypatch.setattr(conversion, "_read_report", keep)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        program = TAKEN_OVER.replace("PORT", port).replace("OUTSIDE", str(outside))
        monkeypatch.setattr(conversion, "_START", program)
        with pytest.raises(MergingError, match="torch cannot read it as plain tensors: ValueError"):
            convert_pickles(folder)
    # Whatever it did, it was found to be able to.
    assert {deed for deed, done in kept["did"].items() if done} <= set(kept["can"])
    assert not set(kept["environment"]) & set(os.environ) - {"HOME", "TMPDIR", *conversion._KEPT_VARIABLES} - {
        name for name in kept["environment"] if name.endswith("_NUM_THREADS") or name == "LC_CTYPE"
    }
    if LINUX and kept["can"] == []:
        assert not (outside / "new").exists()
    assert (folder / "pytorch_model.bin").exists() and not (folder / "model.safetensors").exists()


@pytest.mark.skipif(not LINUX, reason="elsewhere there is neither Landlock nor seccomp to be without")
def test_a_kernel_without_landlock_and_seccomp_is_said_to_keep_the_process_from_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = saved(tmp_path, "llama")
    lacking = "import merging.pickles.confinement as c; c._CREATE_RULESET = 9999; c._CALLS = {}; main(job)"
    monkeypatch.setattr(conversion, "_START", conversion._START.replace("main(job)", lacking))
    assert {"write other files", "read other files"} <= set(convert_pickles(tmp_path))
    assert same(load_file(tmp_path / "model.safetensors"), expected)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('no torch here')", r"ended with status 1 \(no torch here\)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with SIGKILL"),
        ("open('report.json', 'w').write('[')", "ended with status 0"),
        ("import os; os.symlink('/etc/passwd', 'report.json')", "ended with status 0"),
        (
            'import json; json.dump({"can": [], "error": "[Errno 28]", "of_machine": True}, open("report.json", "w"))',
            r"could not go on \(\[Errno 28\]\)",
        ),
    ],
)
def test_a_process_that_ends_otherwise_is_no_fault_of_the_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    saved(tmp_path, "llama")
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(conversion, "_START", program)
    with pytest.raises(ConverterFailed, match=reason):
        convert_pickles(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "deed",
    [
        "os.symlink('/etc/passwd', 'model.safetensors')",
        "open('model.safetensors', 'wb').write(b'x' * 100)",
        "os.mkfifo('model.safetensors')",
    ],
)
def test_what_a_process_wrote_instead_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    saved(tmp_path, "llama")
    report = 'json.dump({"can": [], "error": None, "of_machine": False}, open("report.json", "w"))'
    monkeypatch.setattr(conversion, "_START", f"import json, os; {deed}; {report}")
    with pytest.raises(MergingError, match=r"model\.safetensors: "):
        convert_pickles(tmp_path)
    assert not (tmp_path / "model.safetensors").exists() and (tmp_path / "pytorch_model.bin").exists()
