from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.tiny_models import tiny_model
from merging.errors import MergingError
from merging.sources.checkpoint import MAX_HEADER_BYTES, Checkpoint, is_finite, read_headers
from merging.sources.family import TensorHeader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small checkpoint in one file."""
    weights = {"h.0.mlp.weight": torch.arange(6.0).reshape(2, 3), "wte.weight": torch.ones(4, dtype=torch.bfloat16)}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    return tmp_path


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file's header, and leave its data as it is."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    change(entries)
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])


def test_headers_are_read_without_the_weights(folder: Path) -> None:
    assert read_headers(folder / "model.safetensors") == {
        "h.0.mlp.weight": TensorHeader("h.0.mlp.weight", (2, 3), "F32"),
        "wte.weight": TensorHeader("wte.weight", (4,), "BF16"),
    }


def test_tensors_are_views_of_the_mapped_file(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.names == ("h.0.mlp.weight", "wte.weight")
    assert checkpoint.layers == 1
    assert torch.equal(checkpoint.tensor("h.0.mlp.weight"), torch.arange(6.0).reshape(2, 3))
    assert checkpoint.tensor("wte.weight").dtype == torch.bfloat16
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]
    address = checkpoint.tensor("h.0.mlp.weight").data_ptr()
    spans = [[int(end, 16) for end in fields[0].split("-")] for fields in mapped]
    assert any(start <= address < end for start, end in spans)
    checkpoint.verify()


def test_a_sharded_model_of_transformers_is_one_checkpoint(tmp_path: Path) -> None:
    model = tiny_model("llama", seed=1)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    checkpoint = Checkpoint.open(tmp_path)
    checkpoint.verify()
    assert set(checkpoint.names) == set(model.state_dict())
    assert all(torch.equal(checkpoint.tensor(name), weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2])
def test_a_weight_that_is_not_finite_is_named(value: float, dtype: torch.dtype, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["h.0.mlp.weight"] = torch.tensor([1.0, value, 2.0], dtype=dtype)
    save_file(weights, folder / "model.safetensors")
    checkpoint = Checkpoint.open(folder)
    with pytest.raises(MergingError, match=r"model\.safetensors: tensor h\.0\.mlp\.weight holds NaN or infinite"):
        checkpoint.verify()


def test_a_value_that_is_not_finite_is_found_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merging.sources.checkpoint._FINITE_CHUNK", 4)
    for place in range(10):
        tensor = torch.arange(10.0)
        assert is_finite(tensor)
        tensor[place] = -torch.inf if place % 2 else torch.nan
        assert not is_finite(tensor)
    whole = (torch.arange(3), torch.tensor([True]), torch.empty(0), torch.ones(3).to(torch.float8_e4m3fn))
    assert all(is_finite(tensor) for tensor in whole)


HEADER_DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "offset beyond the file": (
        lambda entries: entries["wte.weight"].update(data_offsets=[24, 1 << 40], shape=[(1 << 40) // 2 - 12]),
        r"it holds 32 bytes of weights, its header says 1099511627776",
    ),
    "offset before the data": (
        lambda entries: entries["wte.weight"].update(data_offsets=[-8, 0]),
        r"tensor wte\.weight has a size or offset that is not a whole number",
    ),
    "overlap": (
        lambda entries: entries["wte.weight"].update(data_offsets=[16, 24]),
        r"tensor wte\.weight starts at byte 16, where 24 was due",
    ),
    "shape that does not fit": (
        lambda entries: entries["wte.weight"].update(shape=[5]),
        r"tensor wte\.weight: 8 bytes do not hold \[5\] of BF16",
    ),
    "unknown dtype": (
        lambda entries: entries["wte.weight"].update(dtype="Q4_K"),
        r"tensor wte\.weight has the unknown dtype 'Q4_K'",
    ),
    "dtype that is no text": (
        lambda entries: entries["wte.weight"].update(dtype=["F32"]),
        r"tensor wte\.weight has the unknown dtype \['F32'\]",
    ),
    "no offsets": (
        lambda entries: entries["wte.weight"].pop("data_offsets"),
        r"tensor wte\.weight has no dtype, shape and offsets",
    ),
    "entry that is a number": (lambda entries: entries.update(x=3), r"tensor x has no dtype, shape and offsets"),
    "tensor left out": (lambda entries: entries.pop("wte.weight"), r"it holds 32 bytes of weights, .* says 24"),
}


@pytest.mark.parametrize(("change", "message"), HEADER_DAMAGE.values(), ids=HEADER_DAMAGE)
def test_a_header_that_lies_is_refused_by_file(
    change: Callable[[dict[str, Any]], object], message: str, folder: Path
) -> None:
    rewrite_header(folder / "model.safetensors", change)
    with pytest.raises(MergingError, match=rf"model\.safetensors: {message}") as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)


FILE_DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in the weights": (lambda content: content[:-5], r"it holds 27 bytes of weights, its header says 32"),
    "cut in the header": (lambda content: content[:40], r"the header claims \d+ bytes of a file of 40 bytes"),
    "cut in the length": (lambda content: content[:5], r"the header claims \d+ bytes of a file of 5 bytes"),
    "empty": (lambda _: b"", r"the header claims 0 bytes of a file of 0 bytes"),
    "longer than its header says": (lambda content: content + b"x", r"it holds 33 bytes of weights"),
    "not JSON": (lambda content: content[:8] + b"[" * (len(content) - 8), r"its header is not JSON"),
    "a git LFS pointer": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", r"the header claims"),
    "JSON, yet no object": (lambda _: b"\x02" + bytes(7) + b"[]", r"its header is not a JSON object"),
}


@pytest.mark.parametrize(("change", "message"), FILE_DAMAGE.values(), ids=FILE_DAMAGE)
def test_a_damaged_file_is_refused_by_name(change: Callable[[bytes], bytes], message: str, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(MergingError, match=rf"model\.safetensors: {message}") as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)


def test_a_header_longer_than_the_format_allows_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER_BYTES + 100)  # sparse: it takes no room on the disk
    with pytest.raises(MergingError, match=r"claims 100000001 bytes .*limit 100000000"):
        read_headers(path)


def sharded(folder: Path, weight_map: object) -> Path:
    """Turn the one file into two shards with this index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for number, (name, weight) in enumerate(sorted(weights.items()), start=1):
        save_file({name: weight}, folder / f"part-{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


RIGHT = {"h.0.mlp.weight": "part-1.safetensors", "wte.weight": "part-2.safetensors"}


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({**RIGHT, "wte.weight": "part-3.safetensors"}, r"part-3\.safetensors: cannot be read \(No such file"),
        (
            {**RIGHT, "wte.weight": "../../etc/x.safetensors"},
            r"index\.json: tensor wte\.weight is said to be in '\.\./",
        ),
        ({**RIGHT, "wte.weight": "weights.bin"}, r"index\.json: tensor wte\.weight is said to be in 'weights\.bin'"),
        ({**RIGHT, "wte.weight": 3}, r"index\.json: not a safetensors index"),
        (
            {**RIGHT, "wpe.weight": "part-2.safetensors"},
            r"part-2\.safetensors: the index gives tensor wpe\.weight to this file, which has none of that name",
        ),
        (
            {"h.0.mlp.weight": "part-2.safetensors", "wte.weight": "part-2.safetensors"},
            r"part-2\.safetensors: the index gives tensor h\.0\.mlp\.weight to this file",
        ),
        ({"h.0.mlp.weight": "part-1.safetensors", "h.1": "part-2.safetensors"}, r"the index gives tensor h\.1 to this"),
        ([], r"index\.json: not a safetensors index"),
        ({}, r"index\.json: it lists no tensor"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(weight_map: object, message: str, folder: Path) -> None:
    assert len(Checkpoint.open(sharded(folder, RIGHT)).names) == 2
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(MergingError, match=message):
        Checkpoint.open(folder)


def test_a_tensor_in_two_shards_is_refused_with_the_shard_that_the_index_gives(folder: Path) -> None:
    sharded(folder, RIGHT)
    both = {name: tensor for part in (1, 2) for name, tensor in load_file(folder / f"part-{part}.safetensors").items()}
    save_file(both, folder / "part-1.safetensors")
    with pytest.raises(MergingError) as caught:
        Checkpoint.open(folder)
    why = "it holds tensor wte.weight, which the index gives to part-2.safetensors: remove it from one of the two"
    assert str(caught.value).startswith(f"{folder}/part-1.safetensors: {why}")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"h.0.mlp.weight": RIGHT["h.0.mlp.weight"]}})
    )
    with pytest.raises(MergingError, match=r"it holds tensor wte\.weight, which the index does not list"):
        Checkpoint.open(folder)


def test_a_folder_without_weights_and_a_name_without_tensor_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MergingError, match=r"it has no tensor h\.7\.mlp\.weight"):
        Checkpoint.open(folder).tensor("h.7.mlp.weight")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MergingError, match=r"empty: it has neither model\.safetensors nor"):
        Checkpoint.open(empty)
