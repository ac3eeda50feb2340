"""The zip archive that torch.save writes, opened by pieces: the records' places are read, their contents are not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from merging.errors import MergingError

ReadAt = Callable[[int, int], bytes]
"""Reads a piece of a file: its first byte and its length → its bytes, fewer only at the file's end."""

MAX_PROGRAM_BYTES = 4 * 2**20
"""Largest pickle that is read: it describes the tensors, whose bytes lie beside it. A large model's has some 100 kB."""

_BLOCK_BYTES = 1 << 18  # both ends of a file hold nearly always all that is read
_MOST_BLOCKS = 256

_BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""The first bytes of what torch.save wrote before it wrote archives: a pickled number."""

_UNREADABLE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OverflowError)
"""What zipfile raises for archives that are broken, encrypted, or of a kind that it does not read."""

_REMEDY = "ask its author to save it again with save_pretrained"


@dataclass(frozen=True)
class Archive:
    """A file of torch.save. program: its pickle. storages: key of each storage → bytes that it holds."""

    program: bytes
    storages: Mapping[str, int]


def read_archive(read: ReadAt, size: int) -> Archive:
    """Read the pickle and the sizes of the storages of a file of `size` bytes.

    MergingError, without the file's name, for a file that is cut short, of another format, or not as torch writes it.
    """
    file = _PiecewiseFile(read, size)
    try:
        with zipfile.ZipFile(file) as opened:
            records = _check_records(opened.infolist(), size)
            program = records.get("data.pkl")
            if program is None:
                raise MergingError(f"it has no data.pkl: torch.save did not write it; {_REMEDY}")
            if program.file_size > MAX_PROGRAM_BYTES:
                limit = f"more than the {MAX_PROGRAM_BYTES:,} that are read"
                raise MergingError(f"its data.pkl is {program.file_size:,} bytes, {limit}")
            content = opened.read(program)
    except _UNREADABLE as error:
        if read(0, len(_BEFORE_1_6)) == _BEFORE_1_6:
            raise MergingError(f"it is in the format of torch before 1.6, which is not read; {_REMEDY}") from error
        raise MergingError(f"it is cut short, or torch.save did not write it ({error})") from error
    prefix = "data/"
    sizes = {name.removeprefix(prefix): one.file_size for name, one in records.items() if name.startswith(prefix)}
    return Archive(content, sizes)


def check_sums(path: Path) -> None:
    """Read every record of a file on this machine; MergingError if its content is not that of its check sum."""
    with zipfile.ZipFile(path) as opened:
        records = _check_records(opened.infolist(), path.stat().st_size)
        for record in records.values():
            try:
                with opened.open(record) as content:
                    while content.read(1 << 24):
                        pass
            except (*_UNREADABLE, OSError) as error:
                raise MergingError(f"its record {record.filename[:60]!r} is damaged ({error})") from error


def _check_records(records: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """Name in the folder that all records are in → record; MergingError for what torch does not write."""
    root = records[0].filename.partition("/")[0] if records else ""
    found: dict[str, zipfile.ZipInfo] = {}
    for record in records:
        where = f"its record {record.filename[:60]!r}"
        folder, _, name = record.filename.partition("/")
        if folder != root or not name or "\\" in name or {"", ".", ".."} & set(name.split("/")):
            raise MergingError(f"{where} is outside of its folder")
        if name in found:
            raise MergingError(f"{where} is there twice")
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise MergingError(f"{where} is compressed, which torch.save never does")
        if not record.CRC:
            record.CRC = None  # type: ignore[assignment]  # torch was told to leave check sums out: there is none to test
        found[name] = record
    if (total := sum(record.file_size for record in records)) > size:
        raise MergingError(f"its records claim {total:,} bytes of a file of {size:,}")
    return found


class _PiecewiseFile(io.RawIOBase):
    """A file of which blocks are read as they are needed, each once, and only so many."""

    def __init__(self, read: ReadAt, size: int) -> None:
        self._read, self._size, self._position = read, size, 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("it ends before its own list of records")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes; fewer than `size` only at the end."""
        length = self._size - self._position if size is None or size < 0 else size
        end = min(self._position + length, self._size)
        # Blocks are counted from the end, so that one of them has as much of the list of records as it can.
        parts = []
        while self._position < end:
            number = (self._size - 1 - self._position) // _BLOCK_BYTES
            start = max(0, self._size - (number + 1) * _BLOCK_BYTES)
            stop = self._size - number * _BLOCK_BYTES
            part = self._block(number, start, stop)[self._position - start : end - start]
            if not part:
                raise EOFError("it is shorter than it was")
            parts.append(part)
            self._position += len(part)
        return b"".join(parts)

    def _block(self, number: int, start: int, stop: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) == _MOST_BLOCKS:
                raise ValueError(f"more than {_MOST_BLOCKS * _BLOCK_BYTES:,} bytes describe its tensors")
            self._blocks[number] = self._read(start, stop - start)
        return self._blocks[number]
