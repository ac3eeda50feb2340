"""Greedy answers to prompts: planned once for a set of requests, generated for each candidate.

A batch is generated in two phases. Prefill: the prompts are read into the cache, in as many passes as their number
and their prefixes need, which gives the first token of each answer. Decoding: every pass reads the newest token of all
answers and gives the next ones, until each has ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from evaluation.engine.batches import BatchLimits, cut_batches, longest_first
from evaluation.engine.cache import GenerationCache
from evaluation.engine.forward import Forward, PrefixStates
from evaluation.engine.masks import step_visibility
from evaluation.engine.rows import RowTensors
from evaluation.engine.stops import StopStrings
from evaluation.engine.tree import Path, Prefix, Row, SharedPrefixes, cut_tree

Stops = Mapping[tuple[str, ...], StopStrings]

MIN_ALIVE = 0.75
"""Finished rows are dropped from the cache below this share of unfinished ones: dropping copies the others."""


@dataclass(frozen=True)
class Prompt:
    """Tokens to continue until one of the `until` strings, an end token, or `limit` new tokens."""

    tokens: tuple[int, ...]
    until: tuple[str, ...]
    limit: int


@dataclass(frozen=True)
class Answer:
    """Generated tokens; `ended`: by a stop string or an end token, not by the limit."""

    tokens: tuple[int, ...]
    ended: bool


@dataclass(frozen=True)
class _Prefill:
    """Prompts that are read in one pass.

    cache_rows: their rows in the batch's cache. wanted: indices of their last tokens in the flattened rows.
    """

    cache_rows: slice
    rows: RowTensors
    wanted: Tensor


@dataclass(frozen=True)
class _Batch:
    """Prompts that are answered together; row k of the cache belongs to prompt k.

    width: columns of the cache, enough for the longest prompt with its answer.
    """

    prompts: tuple[Prompt, ...]
    prefills: tuple[_Prefill, ...]
    width: int


@dataclass(frozen=True)
class GenerationPlan:
    """Everything that answers to a set of prompts need except the weights."""

    prompts: tuple[Prompt, ...]
    prefixes: tuple[Prefix, ...]
    batches: tuple[_Batch, ...]

    @classmethod
    def of(
        cls,
        prompts: Sequence[Prompt],
        limits: BatchLimits,
        device: torch.device,
        shared: SharedPrefixes | None = None,
    ) -> GenerationPlan:
        """Plan for prompts of at least one token each; equal ones are answered once.

        shared: the prefixes of a larger set of prompts, which these belong to.
        """
        by_tokens: dict[tuple[int, ...], list[Prompt]] = defaultdict(list)
        for prompt in dict.fromkeys(prompts):
            by_tokens[prompt.tokens].append(prompt)
        paths, cut = _plan_paths(by_tokens), limits.generations
        prefixes = shared.part(paths, cut) if shared else cut_tree(paths, cut)
        sharing = list(by_tokens.values())  # for each path of the tree the prompts with these tokens
        placed = [
            (number, prefix.rows[index], prompt)
            for number, prefix in enumerate(prefixes)
            for index in longest_first([len(row.tokens) for row in prefix.rows])
            for prompt in sharing[prefix.rows[index].leaves[0][0]]
        ]
        widths = [len(prompt.tokens) + prompt.limit for _, _, prompt in placed]
        batches = []
        for span in cut_batches(widths, limits.cache):
            prefills = _plan_prefills(placed[span], prefixes, limits.tokens, device)
            batches.append(_Batch(tuple(prompt for _, _, prompt in placed[span]), prefills, max(widths[span])))
        return cls(tuple(prompts), tuple(prefixes), tuple(batches))

    def cost(self, limits: BatchLimits) -> int:
        """The rows' cost in tokens; see `BatchLimits.reading`. Answers are taken to reach their limit."""
        prefills = [prefill for batch in self.batches for prefill in batch.prefills]
        read = sum(prefill.rows.tokens.numel() + limits.reading for prefill in prefills)
        lengths = [[prompt.limit for prompt in batch.prompts] for batch in self.batches]
        return read + sum(sum(batch) + limits.reading * max(batch) for batch in lengths)

    @staticmethod
    def share(prompts: Sequence[Prompt], limits: BatchLimits) -> SharedPrefixes:
        """The prefixes of prompts that are answered in parts."""
        return SharedPrefixes.of(_plan_paths(dict.fromkeys(prompt.tokens for prompt in prompts)), limits.generations)

    def answer(
        self,
        forward: Forward,
        states: PrefixStates,
        ends: frozenset[int],
        stops: Mapping[tuple[str, ...], StopStrings],
    ) -> list[Answer]:
        """The answers in the order of the prompts.

        states: of the plan's prefixes. ends: tokens that end an answer. stops: the stop strings of each prompt's
        `until`.
        """
        found: dict[Prompt, Answer] = {}
        for batch in self.batches:
            found.update(_Decoding(batch, forward, states).run(ends, stops))
        return [found[prompt] for prompt in self.prompts]


def _plan_paths(prompts: Iterable[tuple[int, ...]]) -> list[Path]:
    """Different prompts as paths. The last token is never in a prefix: its logits give the answer's first token."""
    return [Path(tokens, len(tokens) - 1) for tokens in prompts]


def _plan_prefills(
    placed: Sequence[tuple[int, Row, Prompt]], prefixes: Sequence[Prefix], area: int, device: torch.device
) -> tuple[_Prefill, ...]:
    """One pass for each prefix (by number), or several if its rows have more than `area` tokens."""
    prefills = []
    first = 0
    for number, members in groupby(placed, key=lambda one: one[0]):
        rows = [row for _, row, _ in members]
        for span in cut_batches([len(row.tokens) for row in rows], area):
            tensors = RowTensors.of(rows[span], number, prefixes[number].end, device)
            last = [line * tensors.width + len(row.tokens) - 1 for line, row in enumerate(rows[span])]
            cache_rows = slice(first + span.start, first + span.stop)
            prefills.append(_Prefill(cache_rows, tensors, torch.tensor(last, device=device)))
        first += len(rows)
    return tuple(prefills)


class _Decoding:
    """The state of one batch while it is generated; `_prompts_of_rows`: the prompt of each row left in the cache."""

    def __init__(self, batch: _Batch, forward: Forward, states: PrefixStates) -> None:
        self._batch, self._forward, self._states = batch, forward, states
        self._cache = GenerationCache(len(batch.prompts), batch.width, forward.layers)
        self._prompts_of_rows = list(range(len(batch.prompts)))
        self._answers: list[list[int]] = [[] for _ in batch.prompts]

    def run(self, ends: frozenset[int], stops: Stops) -> dict[Prompt, Answer]:
        """Generate until every answer has ended."""
        prompts, done = self._batch.prompts, dict[int, Answer]()
        newest = self._prefill()
        while True:
            for index, token in zip(self._prompts_of_rows, newest.tolist(), strict=True):
                if index in done:
                    continue
                prompt, tokens = prompts[index], self._answers[index]
                tokens.append(token)
                stop = stops[prompt.until]
                ended = token in ends or stop.reached(tokens)
                if ended or len(tokens) == prompt.limit:
                    done[index] = Answer(tuple(tokens), ended or stop.within(tokens))
            alive = [row for row, index in enumerate(self._prompts_of_rows) if index not in done]
            if not alive:
                return {prompt: done[index] for index, prompt in enumerate(prompts)}
            if len(alive) < MIN_ALIVE * len(self._prompts_of_rows):
                self._cache.keep_rows(alive)
                self._prompts_of_rows = [self._prompts_of_rows[row] for row in alive]
                newest = newest[alive]
            newest = self._step(newest)

    def _prefill(self) -> Tensor:
        """Read all prompts; returns the first token of each answer."""
        newest = []
        for prefill in self._batch.prefills:
            cache = self._cache.fill(prefill.cache_rows, self._states.of(prefill.rows.prefix))
            logits = self._forward.read(prefill.rows, cache, prefill.wanted)
            newest.append(logits.argmax(dim=-1))
        return torch.cat(newest)

    def _step(self, newest: Tensor) -> Tensor:
        """Read the newest token of each row; returns the next ones.

        A finished row, whose answer no longer grows, reads a token into the same column again; nobody looks at it.
        """
        positions = [
            len(self._batch.prompts[index].tokens) + len(self._answers[index]) - 1 for index in self._prompts_of_rows
        ]
        columns = torch.tensor(positions, device=newest.device)
        seen = max(positions) + 1
        cache = self._cache.step(columns, seen)
        every = torch.arange(len(positions), device=newest.device)
        logits = self._forward(newest[:, None], columns[:, None], step_visibility(columns, seen), cache, every)
        return logits.argmax(dim=-1)
