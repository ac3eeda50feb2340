"""A cache of what was prepared for lists of requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

Made = TypeVar("Made")

SIZE = 128
"""Room for the requests of three splits and of each round of a race, for models of several depths."""


class Recent:
    """The last results by kind and requests, the least recently used dropped first.

    A linear search: hashing thousands of prompts would cost more than comparing them with a few lists, of which most
    differ in the first one.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[Hashable, list[object], Any]] = deque(maxlen=SIZE)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, kind: Hashable, requests: Sequence[object], make: Callable[[], Made]) -> Made:
        """The result of `make` for these requests, from the cache if it is there."""
        wanted = list(requests)
        for index, (other, known, result) in enumerate(self._entries):
            if other == kind and known == wanted:
                made: Made = result
                del self._entries[index]
                break
        else:
            made = make()
        self._entries.append((kind, wanted, made))
        return made
