"""The rows that a decoder is given in the places of pictures: computed once for a tower's weights, and kept in a file.

A row is one image token's vector after tower and projector. The file has no name: it is gone with the process, however
that ends.
"""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections import OrderedDict

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evaluation.engine.pictures.processing import PictureEncoder
from evaluation.engine.pictures.tower import as_bytes, picture_rows, tower_digest

DISK_LIMIT, LEFT_FREE = 2**32, 2**30
"""Bytes that one engine's files may take (the rows of 180 pictures of LLaVA-1.6-7B in bfloat16, or of 3000 of
SmolVLM-256M), and those that they leave free on the disk."""

PART_BYTES, ALIGNMENT = 2**26, 64
"""Bytes that are mapped at once, and of which the beginnings of rows are multiples."""

KEPT_TOWERS = 4
"""Towers whose rows are kept: a search may choose one tower out of few. One that is merged anew for every candidate
leaves no use behind, and the oldest go first."""


class PictureRows:
    """Looks up the rows of image tokens, by the engine's private ids, for the weights that the model has now."""

    def __init__(self, encoder: PictureEncoder) -> None:
        self._encoder = encoder
        self._files: OrderedDict[str, RowFile] = OrderedDict()
        self.computed = 0

    def put(self, model: PreTrainedModel) -> None:
        """Look up the rows of another model from now on, or those for other weights of the same one."""
        self._model = model
        self._current: RowFile | None = None
        self._newest: tuple[str, Tensor] | None = None

    def forget(self) -> None:
        """Drop the rows of all pictures, with those of the encoder."""
        self._encoder.forget()
        self._newest = None
        for tower in self._files:
            self._files[tower] = RowFile()
        if self._current is not None:
            self._current = next(reversed(self._files.values()))

    def __call__(self, ids: Tensor) -> Tensor:
        """The rows of private ids, [ids, width], on the model's device."""
        runs = self._encoder.tokens.runs(ids.tolist())
        found = [self._of(digest)[numbers] for digest, numbers in runs]
        return torch.cat([rows.to(self._model.device) for rows in found])

    def _of(self, digest: str) -> Tensor:
        """All rows of a picture; those that find no room in the file are computed again when they are needed again."""
        current = self._file()
        if digest in current.rows:
            return current.rows[digest]
        if self._newest is None or self._newest[0] != digest:
            rows = picture_rows(self._model, self._encoder.inputs_of(digest), self._encoder.image_token)
            self.computed += 1
            if self._make_room(rows.nbytes) and current.keep(digest, rows):
                return current.rows[digest]
            self._newest = digest, rows
        return self._newest[1]

    def _file(self) -> RowFile:
        """The file for the present weights of the tower."""
        if self._current is None:
            tower = tower_digest(self._model)
            if tower not in self._files:
                self._files[tower] = RowFile()
            self._files.move_to_end(tower)
            self._current = self._files[tower]
            while len(self._files) > KEPT_TOWERS:
                self._files.popitem(last=False)
        return self._current

    def _make_room(self, size: int) -> bool:
        """Whether there is room for so many more bytes; the files of other towers are dropped for it, oldest first."""
        while len(self._files) > 1 and self._taken + size > DISK_LIMIT:
            self._files.popitem(last=False)
        return self._taken + size <= DISK_LIMIT and size + LEFT_FREE <= shutil.disk_usage(tempfile.gettempdir()).free

    @property
    def _taken(self) -> int:
        return sum(file.size for file in self._files.values())


class RowFile:
    """The rows of pictures (by their digests) for one tower, in a temporary file that is mapped into memory.

    size: bytes in use.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="shoal-pictures-", buffering=0)  # noqa: SIM115
        self._begin = 0
        self._map: mmap.mmap | bytes = b""  # the part that is being filled; it begins at `_begin`
        self.rows: dict[str, Tensor] = {}
        self.size = 0

    def keep(self, digest: str, rows: Tensor) -> bool:
        """Add a picture's rows; False if they do not fit on the disk."""
        data = as_bytes(rows)
        start = self._find_place(len(data))
        try:
            # Written and not only mapped: a mapped page that finds no room on the disk would kill the process.
            fits = self.write(start, data) == len(data)
        except OSError:
            fits = False
        if fits:
            flat = torch.frombuffer(self._map, dtype=rows.dtype, count=rows.numel(), offset=start - self._begin)
            self.rows[digest] = flat.view(rows.shape)
            self.size = start + len(data)
        return fits

    def write(self, start: int, data: memoryview) -> int:
        """Returns the number of bytes that could be written."""
        self._file.seek(start)
        return self._file.write(data)

    def _find_place(self, size: int) -> int:
        """Where so many bytes can begin, in a mapped part of the file: each part costs one of the process's files."""
        start = _round_up(self.size, ALIGNMENT)
        if start + size > self._begin + len(self._map):
            self._begin = start = _round_up(self.size, mmap.ALLOCATIONGRANULARITY)
            length = max(PART_BYTES, size)
            self._file.truncate(start + length)
            self._map = mmap.mmap(self._file.fileno(), length, offset=start)
        return start


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
