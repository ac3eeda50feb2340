"""Shards of the Xet protocol: which file an upload made of which chunks, and what its SHA-256 is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER_BYTES = 48  # a tag of 32 bytes, the version, the size of the footer
_ROW = struct.Struct("<32sII8s")  # hash, flags, number of segments, unused; every other row has the same size
_LAST = b"\xff" * 32
_VERIFIED, _WITH_SHA256 = 1 << 31, 1 << 30


@dataclass(frozen=True)
class UploadedFile:
    """A file that an upload registered: its SHA-256 and its Xet hash, both in hex as requests have them."""

    sha256: str
    xet_hash: str


def read_shard(content: bytes) -> Iterator[UploadedFile]:
    """The files in a shard that come with a SHA-256; nothing for a shard that was cut off."""
    at = _HEADER_BYTES
    while at + _ROW.size <= len(content):
        hash, flags, segments, _ = _ROW.unpack_from(content, at)
        if hash == _LAST:
            return
        at += _ROW.size * (1 + segments * (2 if flags & _VERIFIED else 1))
        if flags & _WITH_SHA256:
            if at + _ROW.size <= len(content):
                yield UploadedFile(_to_hex(content[at : at + 32]), _to_hex(hash))
            at += _ROW.size


def _to_hex(hash: bytes) -> str:
    """A hash as text: Xet writes it as four numbers of 8 bytes, little endian."""
    return b"".join(hash[at : at + 8][::-1] for at in range(0, 32, 8)).hex()
