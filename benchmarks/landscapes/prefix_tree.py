"""The questions of a split as one tree of tokens: what many of them begin with is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BATCH_LENGTHS = 6
"""Rows whose lengths differ by at most this many tokens are asked together, padded to the longest."""


@dataclass(frozen=True)
class TokenQuestion:
    """A prompt, the answer that is right if greedy decoding gives all of it, and the tokens that may follow it.

    stops: the answer has to be followed by one of these; empty where its own tokens are all that counts.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    stops: tuple[int, ...] = ()

    @property
    def read(self) -> tuple[int, ...]:
        """All tokens that a model reads, to be asked for each of the answer and for what follows."""
        return self.prompt + (self.answer if self.stops else self.answer[:-1])

    @property
    def wanted(self) -> list[tuple[int, ...]]:
        """The tokens that are right at each position from the prompt's last one on."""
        return [(token,) for token in self.answer] + ([self.stops] if self.stops else [])


@dataclass(frozen=True)
class PrefixTree:
    """Questions as nodes: one for every token behind its prefix, in whichever questions.

    tokens, places: of each node, its token and its position. batches: node of each position of some questions (rows,
    positions), padded with node 0. first: of each node, its place in the batches' positions, one after the other.
    asked: the nodes at which something is predicted. steps: (questions, most predictions) index into `asked`, -1 for
    none. right: the same shape with the tokens that count as right, as a last axis, -1 for none.
    """

    tokens: Tensor
    places: Tensor
    batches: tuple[Tensor, ...]
    first: Tensor
    asked: Tensor
    steps: NDArray[np.int64]
    right: NDArray[np.int64]

    @classmethod
    def plant(cls, questions: Sequence[TokenQuestion]) -> PrefixTree:
        """The tree of some questions."""
        nodes: dict[tuple[int, ...], int] = {}
        rows = [
            [nodes.setdefault(one.read[: end + 1], len(nodes)) for end in range(len(one.read))] for one in questions
        ]
        batches = _padded_batches(rows)
        flat = np.concatenate([batch.ravel() for batch in batches])
        _, first = np.unique(flat, return_index=True)
        most = max(len(one.wanted) for one in questions)
        widest = max(len(tokens) for one in questions for tokens in one.wanted)
        steps = np.full((len(questions), most), -1)
        right = np.full((len(questions), most, widest), -1)
        for index, (one, row) in enumerate(zip(questions, rows, strict=True)):
            steps[index, : len(one.wanted)] = row[len(one.prompt) - 1 :]
            for step, tokens in enumerate(one.wanted):
                right[index, step, : len(tokens)] = tokens
        asked, places = np.unique(steps[steps >= 0], return_inverse=True)
        steps[steps >= 0] = places
        return cls(
            tokens=torch.tensor([prefix[-1] for prefix in nodes]),
            places=torch.tensor([len(prefix) - 1 for prefix in nodes]),
            batches=tuple(map(torch.from_numpy, batches)),
            first=torch.from_numpy(first),
            asked=torch.from_numpy(asked),
            steps=steps,
            right=right,
        )

    def judge(self, guesses: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which questions are answered rightly. guesses: the likeliest next token at each node that is asked."""
        found = (guesses[self.steps][:, :, None] == self.right).any(axis=2)
        answered: NDArray[np.bool_] = (found | (self.steps < 0)).all(axis=1)
        return answered


def _padded_batches(rows: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    """The rows as few matrices, those of similar lengths in one."""
    by_length: dict[int, list[Sequence[int]]] = {}
    for row in rows:
        by_length.setdefault(-(-len(row) // BATCH_LENGTHS), []).append(row)
    batches = []
    for alike in by_length.values():
        table = np.zeros((len(alike), max(map(len, alike))), dtype=np.int64)
        for row, place in zip(alike, table, strict=True):
            place[: len(row)] = row
        batches.append(table)
    return batches
