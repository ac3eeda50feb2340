"""Files of the genuine torch.save, read without running them: what they hold, and why they are refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.pickles import pickled
from merging.errors import MergingError
from merging.pickles.archive import check_sums, read_archive
from merging.pickles.program import PickledTensor, read_tensors

TENSOR = torch.arange(20.0).reshape(4, 5)


class Reader:
    """Reads pieces of a file, and counts them."""

    def __init__(self, content: bytes) -> None:
        self.content, self.pieces = content, 0

    def __call__(self, start: int, length: int) -> bytes:
        self.pieces += 1
        return self.content[start : start + length]

    def tensors(self) -> dict[str, PickledTensor]:
        return read_tensors(read_archive(self, len(self.content)))


def repacked(change: Callable[[dict[str, bytes]], None], **options: Any) -> bytes:
    """A file of torch.save with other records."""
    with zipfile.ZipFile(io.BytesIO(pickled({"a": TENSOR}))) as original:
        records = {name: original.read(name) for name in original.namelist()}
    change(records)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_program(content: bytes) -> bytes:
    """A file of torch.save with another pickle."""
    return repacked(lambda records: records.update({"archive/data.pkl": content}))


class Running:
    """An object whose pickle runs a command when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool],
)
def test_names_shapes_and_dtypes_are_those_that_safetensors_would_have(tmp_path: Path, dtype: torch.dtype) -> None:
    from safetensors.torch import save_file

    from merging.sources.checkpoint import read_headers

    tensors = {"a": TENSOR.to(dtype), "b": torch.zeros(3, dtype=dtype), "c": torch.tensor(1, dtype=dtype)}
    save_file(tensors, tmp_path / "model.safetensors")
    found = Reader(pickled(OrderedDict(tensors))).tensors()
    assert {name: tensor.header for name, tensor in found.items()} == read_headers(tmp_path / "model.safetensors")


def test_a_large_file_is_read_by_its_two_ends() -> None:
    reader = Reader(pickled({f"layers.{i}": torch.zeros(64, 64) for i in range(200)}))
    assert len(reader.tensors()) == 200 and len(reader.content) > 3_000_000
    assert reader.pieces == 2


def test_a_state_dict_with_its_metadata_parameters_and_shared_weights_is_plain() -> None:
    layer = torch.nn.Linear(3, 4)
    found = Reader(pickled({**layer.state_dict(), "tied": layer.state_dict()["weight"]})).tensors()
    assert found["weight"].storage == found["tied"].storage != found["bias"].storage
    assert set(Reader(pickled(layer.state_dict())).tensors()) == {"weight", "bias"}
    assert set(Reader(pickled(dict(layer.named_parameters()))).tensors()) == {"weight", "bias"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": Running()}, "it holds posix.system, which is no part of a plain tensor"),
        ({"a": torch.nn.Linear(2, 2)}, "it holds torch.nn.modules.linear.Linear"),
        ({"a": TENSOR.to_sparse()}, "it holds torch._utils._rebuild_sparse_tensor"),
        ({"a": TENSOR.to(torch.complex64)}, "it holds torch.ComplexFloatStorage"),
        ({"a": TENSOR.to(torch.float8_e4m3fn)}, "it holds torch._utils._rebuild_tensor_v3"),
        ({"model": {"a": TENSOR}}, "'model' in it is a dictionary, not a tensor"),
        ({"a": TENSOR, "step": 3}, "'step' in it is the value 3, not a tensor"),
        ({"a": TENSOR, "shapes": [TENSOR, [1]]}, "'shapes' in it is a list, not a tensor"),
        ({3: TENSOR}, "it has the value 3 as a key, where tensors have names"),
        ([TENSOR], "it holds a list, not a dictionary of tensors"),
        (TENSOR, "it holds a tensor, not a dictionary of tensors"),
        ({}, "it holds no tensor"),
        ({"a\nb": TENSOR}, r"a tensor in it has the name 'a\\nb'"),
        (
            {"a": TENSOR.t()},
            r"tensor a is a view \(\[5, 4\] of 20 values from 0 by steps \[1, 5\]\), not a plain tensor",
        ),
        ({"a": TENSOR[1:]}, r"tensor a is a view \(\[3, 5\] of 20 values from 5"),
        ({"a": torch.zeros(1).expand(10**9)}, r"tensor a is a view \(\[1000000000\] of 1 values .* steps \[0\]"),
    ],
)
def test_what_is_no_plain_tensor_is_refused_by_name(content: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MergingError, match=reason), pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        Reader(pickled(content)).tensors()
    assert list(tmp_path.iterdir()) == []


def test_a_negated_view_is_refused() -> None:
    negated = torch._neg_view(TENSOR)  # type: ignore[attr-defined]
    assert negated.is_neg()
    with pytest.raises(MergingError, match=r"calls torch._utils._rebuild_tensor_v2 otherwise than for a plain tensor"):
        Reader(pickled({"a": negated})).tensors()


def tensor_program(offset: int, size: tuple[int, ...], stride: tuple[int, ...], length: int, key: str = "0") -> bytes:
    """The pickle of one tensor with any numbers, protocol 2 as torch writes it."""

    place = object()

    class Program(pickle._Pickler):  # type: ignore[name-defined]  # the one in Python, which can be extended
        def persistent_id(self, found: object) -> object:
            return ("storage", torch.FloatStorage, key, "cpu", length) if found is place else None

    class Tensor:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (place, offset, size, stride, False, OrderedDict())

    buffer = io.BytesIO()
    Program(buffer, 2).dump({"a": Tensor()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((0, (4, 5), (5, 1), 10**12), "80 bytes do not hold 1,000,000,000,000 values of F32"),
        ((0, (2**40, 2**40), (1, 1), 20), "tensor a is a view"),
        ((-5, (4, 5), (5, 1), 20), "otherwise than for a plain tensor"),
        ((0, (4, 5), (5, -1), 20), "otherwise than for a plain tensor"),
        ((0, (4, 5), (1,), 20), "otherwise than for a plain tensor"),
        ((0, (2**62,) * 65, (1,) * 65, 20), "otherwise than for a plain tensor"),
        ((0, (4, 5), (5, 1), 20, "1"), "tensor a: its values, data/1, are not in the file"),
        ((0, (4, 5), (5, 1), 20, "../../etc/passwd"), "refers to a tuple where the values of a tensor should be"),
    ],
)
def test_numbers_that_lie_are_refused(arguments: Any, reason: str) -> None:
    assert set(Reader(with_program(tensor_program(0, (4, 5), (5, 1), 20))).tensors()) == {"a"}
    with pytest.raises(MergingError, match=reason):
        Reader(with_program(tensor_program(*arguments))).tensors()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it holds os.system"),
        (b"\x80\x02}q\x00.", "it holds no tensor"),
        (b"\x80\x02}", "its data.pkl cannot be read"),
        (b"\x80\x02.", "its data.pkl cannot be read"),
        (b"\x80\x02h\x07.", "its data.pkl cannot be read"),
        (b"\x80\x02" + b"(" * 200_000 + b".", "its data.pkl cannot be read"),
        (b"\x80\x02)" + b"\x85" * 200_000 + b".", "it holds a tuple, not a dictionary"),
        (b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.", "it has a tuple as a key"),
        (b"\x80\x02)R.", "its data.pkl cannot be read"),
        (b"\x80\x02K\x01)R.", "its data.pkl calls the value 1"),
        (b"\x80\x02}X\x01\x00\x00\x00aK\x01sX\x01\x00\x00\x00aK\x01s.", "it has 'a' twice"),
        (b"\x80\x02}}b.", "it holds no tensor"),
        (b"\x80\x02K\x01}b.", "sets the state of the value 1"),
        (pickle.dumps({}, 4), "the step MEMOIZE, which plain tensors do not need"),
    ],
)
def test_programs_that_torch_does_not_write_end_in_one_line(program: bytes, reason: str) -> None:
    with pytest.raises(MergingError, match=reason) as caught:
        Reader(with_program(program)).tensors()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_file_cut_anywhere_is_refused() -> None:
    whole = pickled({"a": torch.zeros(300, 300)})
    for length in (0, 1, 30, 1_000, len(whole) // 2, len(whole) - 22, len(whole) - 1):
        with pytest.raises(MergingError, match=r"it is cut short, or torch.save did not write it"):
            Reader(whole[:length]).tensors()


def test_other_formats_are_refused_by_name() -> None:
    with pytest.raises(MergingError, match=r"it is in the format of torch before 1.6, which is not read; ask"):
        Reader(pickled({"a": TENSOR}, _use_new_zipfile_serialization=False)).tensors()
    with pytest.raises(MergingError, match=r"torch.save did not write it"):
        Reader(b"version https://git-lfs.github.com/spec/v1\n").tensors()


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "archive/../../evil", "archive\\..\\evil", "other/data/0"])
def test_a_record_outside_of_the_archives_folder_is_refused(name: str) -> None:
    with pytest.raises(MergingError, match="is outside of its folder"):
        Reader(repacked(lambda records: records.update({name: b"x"}))).tensors()


def test_bombs_are_refused_before_anything_of_them_is_read() -> None:
    bomb = repacked(lambda records: records.update({"archive/data/0": bytes(10**7)}), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(MergingError, match="is compressed"):
        Reader(bomb).tensors()
    # Records that overlap claim more bytes than the file has.
    content = pickled({"a": TENSOR})
    entry = content.rindex(b"archive/data/0") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    size = (2**31 - 1).to_bytes(4, "little")
    with pytest.raises(MergingError, match=r"its records claim 2,147,48\d,\d+ bytes of a file of"):
        Reader(content[: entry + 20] + size + size + content[entry + 28 :]).tensors()
    big = repacked(lambda records: records.update({"archive/data.pkl": bytes(5 * 2**20)}))
    with pytest.raises(MergingError, match=r"its data.pkl is 5,242,880 bytes, more than the 4,194,304 that are read"):
        Reader(big).tensors()


def test_a_record_that_is_there_twice_is_refused() -> None:
    buffer = io.BytesIO(pickled({"a": TENSOR}))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("archive/data/0", TENSOR.numpy().tobytes())
    with pytest.raises(MergingError, match="'archive/data/0' is there twice"):
        Reader(buffer.getvalue()).tensors()


def test_damaged_values_are_found_by_their_check_sums_where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    content = bytearray(pickled({"a": torch.zeros(1000)}))
    path.write_bytes(content)
    check_sums(path)
    content[content.index(bytes(2000)) + 1000] = 1
    path.write_bytes(content)
    with pytest.raises(MergingError, match="its record 'archive/data/0' is damaged"):
        check_sums(path)
    # A record that claims to be encrypted.
    content = bytearray(pickled({"a": TENSOR}))
    content[content.rindex(b"archive/data/0") - 46 + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(MergingError, match=r"its record 'archive/data/0' is damaged .*encrypted"):
        check_sums(path)
    torch.serialization.set_crc32_options(False)
    try:
        path.write_bytes(pickled({"a": TENSOR}))
    finally:
        torch.serialization.set_crc32_options(True)
    check_sums(path)
    assert set(Reader(path.read_bytes()).tensors()) == {"a"}
