"""Greedy answers to prompts: planned once for a set of requests, generated for each candidate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from evaluation.engine.batches import Budget, longest_first, runs
from evaluation.engine.cache import Growth
from evaluation.engine.forward import Forward, PrefixStates
from evaluation.engine.masks import one_more_token
from evaluation.engine.rows import RowTensors
from evaluation.engine.stops import StopStrings
from evaluation.engine.tree import Path, Prefix, Row, cut_tree

Stops = Mapping[tuple[str, ...], StopStrings]

STILL_WORTH_KEEPING = 0.75
"""Finished rows stay in the cache until fewer than this share of its rows go on: to let go copies the others."""


@dataclass(frozen=True)
class Prompt:
    """Tokens to go on from, until a stop string, an end token, or `limit` tokens."""

    tokens: tuple[int, ...]
    until: tuple[str, ...]
    limit: int


@dataclass(frozen=True)
class Answer:
    """Generated tokens, and whether they ended by themselves."""

    tokens: tuple[int, ...]
    ended: bool


@dataclass(frozen=True)
class _Filling:
    """Rows of a batch that are filled at once; wanted: the places of their last tokens."""

    place: slice
    rows: RowTensors
    wanted: Tensor


@dataclass(frozen=True)
class _Batch:
    """Generations that go on side by side; width: columns that the longest of them may take."""

    prompts: tuple[Prompt, ...]
    fillings: tuple[_Filling, ...]
    width: int


@dataclass(frozen=True)
class GenerationPlan:
    """All that a set of prompts needs besides weights."""

    prompts: tuple[Prompt, ...]
    prefixes: tuple[Prefix, ...]
    batches: tuple[_Batch, ...]

    @classmethod
    def of(cls, prompts: Sequence[Prompt], budget: Budget, device: torch.device) -> GenerationPlan:
        """Plan for prompts of at least one token each; equal ones are answered once."""
        forms: dict[tuple[int, ...], list[Prompt]] = defaultdict(list)
        for prompt in dict.fromkeys(prompts):
            forms[prompt.tokens].append(prompt)
        # A row must have a token of its own, for the logits behind it.
        prefixes = cut_tree([Path(tokens, len(tokens) - 1) for tokens in forms], budget.generations)
        users = list(forms.values())
        seats = [
            (number, prefix.rows[index], prompt)
            for number, prefix in enumerate(prefixes)
            for index in longest_first([len(row.tokens) for row in prefix.rows])
            for prompt in users[prefix.rows[index].leaves[0][0]]
        ]
        widths = [len(prompt.tokens) + prompt.limit for _, _, prompt in seats]
        batches = []
        for run in runs(widths, budget.cache):
            fillings = _fillings(seats[run], prefixes, budget.tokens, device)
            batches.append(_Batch(tuple(prompt for _, _, prompt in seats[run]), fillings, max(widths[run])))
        return cls(tuple(prompts), tuple(prefixes), tuple(batches))

    def answer(
        self, forward: Forward, ends: frozenset[int], stops: Mapping[tuple[str, ...], StopStrings]
    ) -> list[Answer]:
        """The answer to every prompt, in their order. `ends`: tokens that end a text."""
        states = PrefixStates(forward, self.prefixes)
        found: dict[Prompt, Answer] = {}
        for batch in self.batches:
            found.update(_Decoding(batch, forward, states).run(ends, stops))
        return [found[prompt] for prompt in self.prompts]


def _fillings(
    seats: Sequence[tuple[int, Row, Prompt]], prefixes: Sequence[Prefix], area: int, device: torch.device
) -> tuple[_Filling, ...]:
    fillings = []
    first = 0
    for number, members in groupby(seats, key=lambda seat: seat[0]):
        rows = [row for _, row, _ in members]
        for run in runs([len(row.tokens) for row in rows], area):
            tensors = RowTensors.of(rows[run], number, prefixes[number].end, device)
            last = [line * tensors.width + len(row.tokens) - 1 for line, row in enumerate(rows[run])]
            place = slice(first + run.start, first + run.stop)
            fillings.append(_Filling(place, tensors, torch.tensor(last, device=device)))
        first += len(rows)
    return tuple(fillings)


class _Decoding:
    """One batch on its way: `rows` tells which prompt each row of the cache goes on from."""

    def __init__(self, batch: _Batch, forward: Forward, states: PrefixStates) -> None:
        self._batch, self._forward, self._states = batch, forward, states
        self._growth = Growth(len(batch.prompts), batch.width, forward.layers)
        self._rows = list(range(len(batch.prompts)))
        self._answers: list[list[int]] = [[] for _ in batch.prompts]

    def run(self, ends: frozenset[int], stops: Stops) -> dict[Prompt, Answer]:
        prompts, done = self._batch.prompts, dict[int, Answer]()
        newest = self._fill()
        while True:
            for row, token in zip(self._rows, newest.tolist(), strict=True):
                if row in done:
                    continue
                prompt, tokens = prompts[row], self._answers[row]
                tokens.append(token)
                stop = stops[prompt.until]
                ended = token in ends or stop.reached(tokens)
                if ended or len(tokens) == prompt.limit:
                    done[row] = Answer(tuple(tokens), ended or stop.within(tokens))
            alive = [index for index, row in enumerate(self._rows) if row not in done]
            if not alive:
                return {prompt: done[row] for row, prompt in enumerate(prompts)}
            if len(alive) < STILL_WORTH_KEEPING * len(self._rows):
                self._growth.keep(alive)
                self._rows = [self._rows[index] for index in alive]
                newest = newest[alive]
            newest = self._step(newest)

    def _fill(self) -> Tensor:
        """Reads all prompts; the first token of each answer."""
        newest = []
        for filling in self._batch.fillings:
            cache = self._growth.fill(filling.place, self._states.of(filling.rows.prefix))
            logits = self._forward.read(filling.rows, cache, filling.wanted)
            newest.append(logits.argmax(dim=-1))
        return torch.cat(newest)

    def _step(self, newest: Tensor) -> Tensor:
        """Reads the newest token of each row; the next one of each. Finished rows stand still."""
        places = [len(self._batch.prompts[row].tokens) + len(self._answers[row]) - 1 for row in self._rows]
        columns = torch.tensor(places, device=newest.device)
        seen = max(places) + 1
        cache = self._growth.step(columns, seen)
        every = torch.arange(len(places), device=newest.device)
        logits = self._forward(newest[:, None], columns[:, None], one_more_token(columns, seen), cache, every)
        return logits.argmax(dim=-1)
