"""Log-likelihoods of continuations: planned once for a set of requests, computed for each candidate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from evaluation.engine.batches import BatchLimits, cut_batches, longest_first
from evaluation.engine.cache import make_reading_cache, make_storing_cache
from evaluation.engine.forward import Forward, PrefixStates
from evaluation.engine.rows import RowTensors
from evaluation.engine.tree import Path, Prefix, Row, SharedPrefixes, cut_tree

Pair = tuple[list[int], list[int]]
"""Tokens of a context and of its continuation."""


@dataclass(frozen=True)
class _Batch:
    """Rows that are read in one pass, and the requests that they answer.

    wanted: indices into the flattened rows of the tokens that get logits. requests: indices of the pairs answered.
    spots, targets, real: for each request the indices into `wanted` of the tokens that predict its continuation, the
    continuation's tokens, and which of both are not padding; each [requests, longest continuation].
    """

    rows: RowTensors
    wanted: Tensor
    requests: tuple[int, ...]
    spots: Tensor
    targets: Tensor
    real: Tensor


@dataclass(frozen=True)
class LikelihoodPlan:
    """Everything that log-likelihoods of a set of pairs need except the weights."""

    size: int
    prefixes: tuple[Prefix, ...]
    batches: tuple[_Batch, ...]

    @classmethod
    def of(
        cls,
        pairs: Sequence[Pair],
        max_length: int,
        limits: BatchLimits,
        device: torch.device,
        shared: SharedPrefixes | None = None,
    ) -> LikelihoodPlan:
        """Plan for (context, continuation) pairs, truncated from the left to `max_length` inputs as lm-eval does.

        A model reads all tokens but the last, each token's logits predicting the next one. Pairs with the same inputs
        share a path of the tree, however they are split into context and continuation.

        shared: the prefixes of a larger set of pairs, which these belong to. Raises AssertionError, as lm-eval does,
        for an empty context or continuation, or one that is too long.
        """
        users, paths = _plan_paths(pairs, max_length)
        cut = limits.likelihoods
        prefixes = shared.part(paths, cut) if shared else cut_tree(paths, cut)
        batches = []
        for number, prefix in enumerate(prefixes):
            order = [prefix.rows[index] for index in longest_first([len(row.tokens) for row in prefix.rows])]
            loads = [sum(len(paths[leaf].tokens) - paths[leaf].free for leaf, _ in row.leaves) for row in order]
            for span in cut_batches([len(row.tokens) for row in order], limits.tokens, loads, limits.logits):
                rows = RowTensors.of(order[span], number, prefix.end, device)
                batches.append(_batch(rows, order[span], users, pairs))
        return cls(len(pairs), tuple(prefixes), tuple(batches))

    def cost(self, limits: BatchLimits) -> int:
        """The rows' cost in tokens; see `BatchLimits.reading`."""
        return sum(batch.rows.tokens.numel() + limits.reading for batch in self.batches)

    @staticmethod
    def share(pairs: Sequence[Pair], max_length: int, limits: BatchLimits) -> SharedPrefixes:
        """The prefixes of pairs that are asked in parts. Raises AssertionError as `of` does."""
        _, paths = _plan_paths(pairs, max_length)
        return SharedPrefixes.of(paths, limits.likelihoods)

    def answer(
        self, forward: Forward, states: PrefixStates, softmax_dtype: torch.dtype | None
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy decoding would give the continuation) of every pair, in their order.

        states: of the plan's prefixes.
        """
        answers: list[tuple[float, bool]] = [(0.0, False)] * self.size
        for batch in self.batches:
            rows = batch.rows
            make_cache = (
                make_reading_cache if len(rows.pieces) == 1 else make_storing_cache
            )  # later pieces see earlier ones
            logits = forward.read(rows, make_cache(states.of(rows.prefix), forward.layers), batch.wanted)
            chances = log_softmax(logits, dim=-1, dtype=softmax_dtype)[batch.spots, batch.targets]
            sums = torch.where(batch.real, chances, 0.0).sum(dim=1)
            greedy = ((logits.argmax(dim=-1)[batch.spots] == batch.targets) | ~batch.real).all(dim=1)
            for request, total, exact in zip(batch.requests, sums.tolist(), greedy.tolist(), strict=True):
                answers[request] = total, exact
        return answers


def _plan_paths(pairs: Sequence[Pair], max_length: int) -> tuple[list[list[int]], list[Path]]:
    """The different inputs as paths of a tree, and the indices of the pairs that have each."""
    by_inputs: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, (context, continuation) in enumerate(pairs):
        assert context and continuation, "a context or a continuation has no tokens"
        fits = len(continuation) <= max_length
        assert fits, f"a continuation of ({len(continuation)}) tokens, the model takes ({max_length})"
        by_inputs[tuple((context + continuation)[-(max_length + 1) :][:-1])].append(index)
    users = list(by_inputs.values())
    longest = [max(len(pairs[index][1]) for index in sharing) for sharing in users]
    return users, [Path(inputs, len(inputs) - count) for inputs, count in zip(by_inputs, longest, strict=True)]


def _batch(tensors: RowTensors, rows: Sequence[Row], users: Sequence[list[int]], pairs: Sequence[Pair]) -> _Batch:
    """The batch of some rows; a token that several requests need gets its logits once."""
    numbers: dict[int, int] = {}  # index in the flattened rows → index in `wanted`
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
