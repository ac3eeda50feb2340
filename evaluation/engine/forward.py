"""One pass through a transformers model, with the engine's masks and cache, and logits only where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from evaluation.engine.cache import State, make_storing_cache, stored_state
from evaluation.engine.masks import Visibility, piece_visibility, read_windows
from evaluation.engine.pictures.rows import PictureRows
from evaluation.engine.rows import RowTensors
from evaluation.engine.tree import Prefix

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedModel


class Forward:
    """Runs a model, whose weights may change between two passes.

    pictures: the rows of tokens with private ids, for a model that sees pictures.
    """

    def __init__(self, model: PreTrainedModel, pictures: PictureRows | None = None) -> None:
        config = model.config.get_text_config()
        self._model, self._pictures = model, pictures
        self._windows = read_windows(config)
        self.layers: int = config.num_hidden_layers

    @property
    def device(self) -> torch.device:
        """The model's device."""
        device: torch.device = self._model.device
        return device

    @torch.no_grad()
    def __call__(
        self, tokens: Tensor, positions: Tensor, visibility: Visibility, cache: Cache, wanted: Tensor
    ) -> Tensor:
        """Logits [wanted, vocabulary]; `wanted`: indices into the flattened `tokens` ([rows, columns])."""
        return self._logits(
            wanted,
            **self._inputs(tokens),
            attention_mask=visibility.mask(self._windows, self._model.dtype),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )

    @torch.no_grad()
    def own(self, inputs: BatchFeature) -> tuple[Tensor, Tensor]:
        """What the model's own forward pass over one text with pictures gives its decoder, [tokens, width], and the
        logits after it, [vocabulary]."""
        given = list[Tensor]()

        def record(_decoder: torch.nn.Module, _: object, named: dict[str, Tensor]) -> None:
            given.append(named["inputs_embeds"][0])

        hook = self._model.get_decoder().register_forward_pre_hook(record, with_kwargs=True)
        last = torch.tensor([inputs["input_ids"].shape[1] - 1], device=self.device)
        try:
            logits = self._logits(last, **inputs.to(self.device, self._model.dtype), use_cache=False)
        finally:
            hook.remove()
        return given[0], logits[0]

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """The embeddings of tokens, in the places of pictures what the decoder is given there."""
        embeddings: Tensor = self._model.get_input_embeddings()(tokens.clamp(min=0))
        private = tokens < 0
        if self._pictures is not None and private.any():
            embeddings[private] = self._pictures(tokens[private])
        return embeddings

    def _logits(self, wanted: Tensor, **inputs: object) -> Tensor:
        def gather(_head: torch.nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            # Before the head, so that only the wanted tokens go through it, and so that what the model does to its
            # logits afterwards (soft caps, scales) still happens.
            return (inputs[0].flatten(0, 1)[wanted][None],)

        hook = self._model.get_output_embeddings().register_forward_pre_hook(gather)
        try:
            answer = self._model(**inputs)
        finally:
            hook.remove()
        logits: Tensor = answer.logits
        return logits[0]

    def _inputs(self, tokens: Tensor) -> dict[str, Tensor]:
        """Tokens as the model takes them: as embeddings where some of them are pictures'."""
        if self._pictures is None or not (tokens < 0).any():
            return {"input_ids": tokens}
        return {"inputs_embeds": self.embed(tokens)}

    def read(self, rows: RowTensors, cache: Cache, wanted: Tensor) -> Tensor:
        """Logits [wanted, vocabulary] of whole rows' tokens; rows of several pieces need a storing cache.

        wanted: indices into the flattened rows. Each piece gives the logits of its own tokens; the last line restores
        the order of `wanted`.
        """
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
        visibility = piece_visibility(rows.ends, rows.positions, rows.known, piece)
        return self(rows.tokens[:, piece], rows.positions[:, piece], visibility, cache, wanted)


class PrefixStates:
    """Keys and values of prefixes, each computed once for the model's present weights.

    Those of the line of ancestors in use are held; of the others as many as fit in `room` tokens, for requests that
    come later. What does not fit is dropped after its last row; therefore prefixes must be asked for in their
    (depth-first) order.
    """

    def __init__(self, forward: Forward, prefixes: Sequence[Prefix], room: int = 0) -> None:
        self._forward, self._prefixes, self._room = forward, prefixes, room
        self._held: dict[int, State] = {}
        self._kept: set[int] = set()

    def of(self, index: int) -> State | None:
        """Keys and values up to the end of a prefix; None for the empty one."""
        line = self._ancestors(index)
        self._held = {held: state for held, state in self._held.items() if held in line or held in self._kept}
        state: State | None = None
        for each in line:
            if each not in self._held:
                self._held[each] = self._compute(self._prefixes[each], state)
                self._keep(each)
            state = self._held[each]
        return state

    def _keep(self, index: int) -> None:
        # The state of a prefix includes its ancestors', so that its size is its end.
        if self._prefixes[index].end <= self._room:
            self._room -= self._prefixes[index].end
            self._kept.add(index)

    def _ancestors(self, index: int) -> list[int]:
        """The prefix and its ancestors, topmost first, without the empty one (number 0)."""
        line: list[int] = []
        at: int | None = index
        while at:
            line.insert(0, at)
            at = self._prefixes[at].parent
        return line

    def _compute(self, prefix: Prefix, parent: State | None) -> State:
        device, length = self._forward.device, len(prefix.tokens)
        tokens = torch.tensor([prefix.tokens], device=device)
        positions = torch.arange(prefix.start, prefix.end, device=device)[None]
        rows = RowTensors(prefix.parent or 0, prefix.start, tokens, positions, torch.full_like(positions, length))
        cache = make_storing_cache(parent, self._forward.layers)
        self._forward.read(rows, cache, torch.tensor([length - 1], device=device))
        return stored_state(cache)
