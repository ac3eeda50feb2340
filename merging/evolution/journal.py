"""The record of what a search asked for: with it, a search goes on elsewhere as it would have gone on here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from merging.spaces.space import Genome, SearchSpace


@dataclass(frozen=True)
class AskedBatch:
    """The genomes that a generation asked for, and the digests of their recipes.

    chosen: how many of them, the first ones, a model of the scores had chosen.
    """

    genomes: tuple[Genome, ...]
    recipes: tuple[str, ...]
    chosen: int = 0

    def is_of(self, space: SearchSpace) -> bool:
        """Whether these genomes mean these recipes in a space."""
        levels = space.levels
        return all(
            len(genome) == len(levels) and all(0 <= index < count for index, count in zip(genome, levels, strict=True))
            for genome in self.genomes
        ) and self.recipes == tuple(space.decode(genome).digest for genome in self.genomes)


class Journal(Protocol):
    """A record of batches by the number of the generation that asked for them."""

    def asked(self, generation: int) -> AskedBatch | None:
        """What a generation asked for; None if it is not in the record."""

    def record(self, generation: int, batch: AskedBatch) -> None:
        """Record it, before any of it is scored."""


class NoJournal:
    """Nothing is recorded: a search that is repeated on another processor may differ in what it asks for."""

    def asked(self, generation: int) -> AskedBatch | None:  # noqa: ARG002
        """Nothing."""
        return None

    def record(self, generation: int, batch: AskedBatch) -> None:
        """Nothing."""
