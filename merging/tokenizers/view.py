"""A model's weights with the rows of its embeddings and head in the order of a merge's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, reduce

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.identity import ModelId
from merging.sources.weights import AdaptedTensor, Weights
from merging.tokenizers.vocabulary import Vocabulary

_ROWS = 1 << 12
"""Rows filled in at a time, so that little memory is needed besides the tensor itself."""


class VocabularyView(Weights):
    """One model of a merge in the merge's vocabulary.

    Tensors with a row per token have the vocabulary's rows, made anew at each call unless they are the first of the
    model's own; rows that the model lacks are filled from the others as the vocabulary says, before anything is merged.
    All other tensors are the model's own.
    """

    def __init__(
        self,
        model: ModelId,
        vocabulary: Vocabulary,
        weights: Mapping[ModelId, Weights],
        tensors: Mapping[ModelId, Mapping[str, str]],
    ) -> None:
        """Use vocabulary_views."""
        self._model = model
        self._vocabulary = vocabulary
        self._weights = weights
        self._tensors = tensors
        self._own = weights[model]
        self._meanings = {stored: meaning for meaning, stored in tensors[model].items()}
        resized = {
            name: replace(header, shape=(vocabulary.rows, *header.shape[1:])) if name in self._meanings else header
            for name, header in self._own.headers.items()
        }
        super().__init__(self._own.folder, resized)

    @torch.no_grad()
    def tensor(self, name: str) -> Tensor:
        """A tensor in the vocabulary's order, in the widest dtype of the rows in it; it must not be written to.

        Means are in float32: they are not rounded before they are merged.
        """
        own = self._own.tensor(name)
        if name not in self._meanings:
            return own
        if self.is_prefix:
            return own[: self._vocabulary.rows]
        places, blank = self._vocabulary.own[self._model], self._vocabulary.blank
        copies, averaged = self._copies(self._meanings[name]), self._averaged()
        dtypes = [tensor.dtype for tensor, _, _ in copies] + [torch.float32] * bool(len(averaged))
        aligned = own.index_select(0, places.clamp(min=0)).to(reduce(torch.promote_types, dtypes, own.dtype))
        aligned[places < 0] = 0
        for tensor, rows, theirs in copies:
            for some, of_donor in zip(torch.split(rows, _ROWS), torch.split(theirs, _ROWS), strict=True):
                aligned[some] = tensor.index_select(0, of_donor).to(aligned.dtype)
        if len(averaged):
            stored = {model: self._stored(model, self._meanings[name]) for model in self._vocabulary.deciding}
            for some in torch.split(averaged, _ROWS):
                aligned[some] = self._means(some, stored).to(aligned.dtype)
        if len(blank):
            # The mean leaves the other tokens' probabilities nearly as they were (Hewitt, 2021).
            aligned[blank] = (_sum_of_rows(aligned) / (len(aligned) - len(blank))).to(aligned.dtype)
        return aligned

    @cached_property
    def is_prefix(self) -> bool:
        """Whether its rows are the model's own first ones, so that they need not be made."""
        places, blank = self._vocabulary.own[self._model], self._vocabulary.blank
        return not len(blank) and torch.equal(places, torch.arange(self._vocabulary.rows))

    @property
    def rearranged(self) -> tuple[str, ...]:
        """The stored names of the tensors that are made anew at each call."""
        return () if self.is_prefix else tuple(sorted(self._meanings))

    def adapted(self, name: str) -> AdaptedTensor | None:
        """What the model's adapter changes in a tensor that has the model's own rows."""
        return None if name in self._meanings else self._own.adapted(name)

    def verify(self) -> None:
        """Read every weight of the model as it is stored."""
        self._own.verify()

    def _copies(self, meaning: str) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(another model's tensor, rows that this one lacks, that model's rows of the same tokens)."""
        own = self._vocabulary.own[self._model]
        found = (
            (config_source, own[rows] < 0, rows, theirs) for config_source, rows, theirs in self._vocabulary.copies
        )
        return [
            (self._stored(config_source, meaning), rows[lacking], theirs[lacking])
            for config_source, lacking, rows, theirs in found
            if lacking.any()
        ]

    def _averaged(self) -> Tensor:
        """The rows that the model lacks and several others have."""
        averaged = self._vocabulary.averaged
        return averaged[self._vocabulary.own[self._model][averaged] < 0]

    def _means(self, rows: Tensor, stored: Mapping[ModelId, Tensor]) -> Tensor:
        """The mean of all deciding models that have a row, in float32."""
        total = torch.zeros(())
        holders = torch.zeros(len(rows))
        for model, theirs in stored.items():
            own = self._vocabulary.own[model]
            has = own[rows] >= 0
            found = theirs.index_select(0, own[rows].clamp(min=0)).float()
            found[~has] = 0
            total = total + found
            holders += has
        return total / holders.reshape(-1, *[1] * (total.dim() - 1))

    def _stored(self, model: ModelId, meaning: str) -> Tensor:
        return self._weights[model].tensor(self._tensors[model][meaning])


def _sum_of_rows(tensor: Tensor) -> Tensor:
    """The sum of the rows in float32; torch would make a float32 copy of the whole tensor first."""
    return torch.stack([part.sum(0, dtype=torch.float32) for part in torch.split(tensor, _ROWS)]).sum(0)


def vocabulary_views(
    vocabulary: Vocabulary,
    weights: Mapping[ModelId, Weights],
    tensors: Mapping[ModelId, Mapping[str, str]],
) -> dict[ModelId, VocabularyView]:
    """Every model of a merge in the merge's vocabulary.

    tensors: for each model, the tensors with a row per token: name in the result → name in the model's files.
    MergingError if a model lacks one that others have, or has too few rows.
    """
    meanings = {meaning for stored in tensors.values() for meaning in stored}
    for model, stored in tensors.items():
        if missing := sorted(meanings - stored.keys()):
            others = [str(other) for other, stored in tensors.items() if missing[0] in stored]
            raise MergingError(
                f"{model}: it ties its head to its embeddings, so it has no {missing[0]}, as {others[0]} has: "
                "vocabularies are merged only where all models tie it or none does; leave one of them out"
            )
        needed = int(vocabulary.own[model].max()) + 1
        for name in stored.values():
            height = weights[model].header(name).shape[0]
            if height < needed:
                raise MergingError(f"{model}: its {name} has {height} rows, its tokenizer needs {needed}")
    return {model: VocabularyView(model, vocabulary, weights, tensors) for model in tensors}
