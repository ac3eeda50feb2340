"""One pass through a transformers model: own masks, own cache, and logits only where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from evaluation.engine.cache import State, keeping, state_of
from evaluation.engine.masks import Sight, rows_after_prefix, windows_of
from evaluation.engine.rows import RowTensors
from evaluation.engine.tree import Prefix


class Forward:
    """A model whose weights may change between two passes."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        self._model = model
        self._windows = windows_of(config)
        self.layers: int = config.num_hidden_layers

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._model.device
        return device

    @torch.no_grad()
    def __call__(self, tokens: Tensor, positions: Tensor, sight: Sight, cache: Cache, wanted: Tensor) -> Tensor:
        """Logits [wanted, vocabulary] of the wanted places (indices into the flattened `tokens`, [rows, columns])."""

        def gather(_head: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
            # Before the head, not behind it: what a model does to its logits afterwards (soft-caps, scales) stays.
            return (inputs[0].flatten(0, 1)[wanted][None],)

        hook = self._model.get_output_embeddings().register_forward_pre_hook(gather)
        try:
            answer = self._model(
                input_ids=tokens,
                attention_mask=sight.mask(self._windows, self._model.dtype),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        finally:
            hook.remove()
        logits: Tensor = answer.logits
        return logits[0]

    def read(self, rows: RowTensors, cache: Cache, wanted: Tensor) -> Tensor:
        """Logits [wanted, vocabulary] of the wanted places of whole rows. For several pieces the cache must keep."""
        pieces = rows.pieces
        if len(pieces) == 1:
            return self._read(rows, pieces[0], cache, wanted)
        lines, columns = wanted // rows.width, wanted % rows.width
        found, order = list[Tensor](), list[Tensor]()
        for piece in pieces:
            here = ((columns >= piece.start) & (columns < piece.stop)).nonzero()[:, 0]
            places = lines[here] * (piece.stop - piece.start) + columns[here] - piece.start
            found.append(self._read(rows, piece, cache, places))
            order.append(here)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _read(self, rows: RowTensors, piece: slice, cache: Cache, wanted: Tensor) -> Tensor:
        sight = rows_after_prefix(rows.ends, rows.positions, rows.known, piece)
        return self(rows.tokens[:, piece], rows.positions[:, piece], sight, cache, wanted)


class PrefixStates:
    """Keys and values of the trunks that the current rows stand on: each computed once, and let go behind its rows.

    Trunks must be asked for in their order.
    """

    def __init__(self, forward: Forward, prefixes: Sequence[Prefix]) -> None:
        self._forward, self._prefixes = forward, prefixes
        self._held: dict[int, State] = {}

    def of(self, index: int) -> State | None:
        """The state behind a trunk; None behind the empty one."""
        line = self._line(index)
        self._held = {held: state for held, state in self._held.items() if held in line}
        state: State | None = None
        for each in line:
            if each not in self._held:
                self._held[each] = self._grow(self._prefixes[each], state)
            state = self._held[each]
        return state

    def _line(self, index: int) -> list[int]:
        line: list[int] = []
        at: int | None = index
        while at:  # not the empty trunk, which is the first
            line.insert(0, at)
            at = self._prefixes[at].parent
        return line

    def _grow(self, prefix: Prefix, below: State | None) -> State:
        device, length = self._forward.device, len(prefix.tokens)
        tokens = torch.tensor([prefix.tokens], device=device)
        positions = torch.arange(prefix.start, prefix.end, device=device)[None]
        rows = RowTensors(prefix.parent or 0, prefix.start, tokens, positions, torch.full_like(positions, length))
        cache = keeping(below, self._forward.layers)
        self._forward.read(rows, cache, torch.tensor([length - 1], device=device))
        return state_of(cache)
