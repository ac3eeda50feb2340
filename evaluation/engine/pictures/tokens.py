"""Private ids of image tokens: negative, so that they are no text's, and different for each token of each picture.

The tree then takes image tokens for what they are: questions about one picture share its keys and values, and two
pictures never do, although their tokens have the same id in the vocabulary.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby


class PictureTokens:
    """The ids of pictures (by their digests): token k of a picture has the id -1 - (the picture's first index + k)."""

    def __init__(self) -> None:
        self._digests: list[str] = []
        self._firsts = [0]
        self._numbers: dict[str, int] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._numbers

    def add(self, digest: str, count: int) -> None:
        """Give a new picture ids for so many tokens."""
        self._numbers[digest] = len(self._digests)
        self._digests.append(digest)
        self._firsts.append(self._firsts[-1] + count)

    def ids(self, digest: str) -> range:
        """A picture's ids, in the order of its tokens."""
        number = self._numbers[digest]
        return range(-1 - self._firsts[number], -1 - self._firsts[number + 1], -1)

    def runs(self, ids: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
        """Ids in their order as (digest of a picture, numbers of its tokens), one for each run of one picture's."""
        for number, run in groupby((-1 - one for one in ids), lambda index: bisect_right(self._firsts, index) - 1):
            yield self._digests[number], [index - self._firsts[number] for index in run]
