"""Log-likelihoods of continuations: planned once for a set of requests, computed for each candidate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from evaluation.engine.batches import Budget, longest_first, runs
from evaluation.engine.cache import borrowing, keeping
from evaluation.engine.forward import Forward, PrefixStates
from evaluation.engine.rows import RowTensors
from evaluation.engine.tree import Path, Prefix, Row, cut_tree

Pair = tuple[list[int], list[int]]
"""Tokens of a context and of its continuation."""


@dataclass(frozen=True)
class _Batch:
    """Rows that go together, and the requests which they answer.

    wanted: the places that get logits. spots, targets, real: for each request which of these places predict its
    continuation, the tokens of it, and which of them are no padding; each [requests, longest continuation].
    """

    rows: RowTensors
    wanted: Tensor
    requests: tuple[int, ...]
    spots: Tensor
    targets: Tensor
    real: Tensor


@dataclass(frozen=True)
class LikelihoodPlan:
    """All that a set of requests needs besides weights."""

    size: int
    prefixes: tuple[Prefix, ...]
    batches: tuple[_Batch, ...]

    @classmethod
    def of(cls, pairs: Sequence[Pair], max_length: int, budget: Budget, device: torch.device) -> LikelihoodPlan:
        """Plan for (context, continuation) pairs, cut from the left to `max_length` inputs as lm-eval cuts them.

        Raises AssertionError, as lm-eval does, for an empty context or continuation, or one that is too long.
        """
        asked: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, (context, continuation) in enumerate(pairs):
            assert context and continuation, "a context or a continuation has no tokens"
            fits = len(continuation) <= max_length
            assert fits, f"a continuation of ({len(continuation)}) tokens, the model takes ({max_length})"
            asked[tuple((context + continuation)[-(max_length + 1) :][:-1])].append(index)
        scored = {inputs: max(len(pairs[index][1]) for index in users) for inputs, users in asked.items()}
        paths = [Path(inputs, len(inputs) - count) for inputs, count in scored.items()]
        prefixes = cut_tree(paths, budget.likelihoods)
        users = list(asked.values())
        batches = []
        for number, prefix in enumerate(prefixes):
            order = [prefix.rows[index] for index in longest_first([len(row.tokens) for row in prefix.rows])]
            loads = [sum(len(paths[leaf].tokens) - paths[leaf].free for leaf, _ in row.leaves) for row in order]
            for run in runs([len(row.tokens) for row in order], budget.tokens, loads, budget.logits):
                rows = RowTensors.of(order[run], number, prefix.end, device)
                batches.append(_batch(rows, order[run], users, pairs))
        return cls(len(pairs), tuple(prefixes), tuple(batches))

    def answer(self, forward: Forward, softmax_dtype: torch.dtype | None) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy decoding would give the continuation) of every pair, in their order."""
        answers: list[tuple[float, bool]] = [(0.0, False)] * self.size
        states = PrefixStates(forward, self.prefixes)
        for batch in self.batches:
            rows = batch.rows
            made = borrowing if len(rows.pieces) == 1 else keeping
            logits = forward.read(rows, made(states.of(rows.prefix), forward.layers), batch.wanted)
            chances = log_softmax(logits, dim=-1, dtype=softmax_dtype)[batch.spots, batch.targets]
            sums = torch.where(batch.real, chances, 0.0).sum(dim=1)
            greedy = ((logits.argmax(dim=-1)[batch.spots] == batch.targets) | ~batch.real).all(dim=1)
            for request, total, exact in zip(batch.requests, sums.tolist(), greedy.tolist(), strict=True):
                answers[request] = total, exact
        return answers


def _batch(tensors: RowTensors, rows: Sequence[Row], users: Sequence[list[int]], pairs: Sequence[Pair]) -> _Batch:
    numbers: dict[int, int] = {}  # place in the flattened rows → which of the wanted it is
    requests, spots, targets = [], [], []
    for line, row in enumerate(rows):
        for leaf, columns in row.leaves:
            for request in users[leaf]:
                continuation = pairs[request][1]
                places = [line * tensors.width + column for column in columns[-len(continuation) :]]
                requests.append(request)
                spots.append([numbers.setdefault(place, len(numbers)) for place in places])
                targets.append(continuation)
    device, longest = tensors.tokens.device, max(len(target) for target in targets)
    real = [[True] * len(target) + [False] * (longest - len(target)) for target in targets]
    return _Batch(
        rows=tensors,
        wanted=torch.tensor(list(numbers), device=device),
        requests=tuple(requests),
        spots=torch.tensor([spot + [0] * (longest - len(spot)) for spot in spots], device=device),
        targets=torch.tensor([target + [0] * (longest - len(target)) for target in targets], device=device),
        real=torch.tensor(real, device=device),
    )
