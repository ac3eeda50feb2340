"""A model that can be merged, as the Hub, its small files and its tensor headers describe it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bot.hub.discovery.candidate import Candidate, Verdict
from merging.dtypes import BITS
from merging.identity import ModelId
from merging.sources.family import TensorHeader
from merging.tokenizers.comparison import TokenizerDigests


class Unfit(Exception):  # noqa: N818 - a finding, not a fault
    """A candidate that cannot be merged; the message is the reason for its verdict."""


@dataclass(frozen=True)
class RemoteWeights:
    """The weights in a repo at a commit, a model's or an adapter's, before they are fetched.

    headers: tensor name → header.
    """

    candidate: Candidate
    headers: Mapping[str, TensorHeader]

    @property
    def repo(self) -> str:
        """owner/name."""
        return self.candidate.repo

    @property
    def sha(self) -> str:
        """The commit."""
        return self.candidate.sha

    @property
    def ref(self) -> ModelId:
        """The model in a recipe."""
        return ModelId(self.candidate.repo, self.candidate.sha)


@dataclass(frozen=True)
class Member(RemoteWeights):
    """A model that can be merged, as the Hub, its small files and its tensor headers describe it.

    settings: the meaning of its config.json. tokenizer: the meaning of its tokenizer.json, if it has one.
    pieces: the Hub's hash of its tokenizer.model, if it has one. is_mixture: whether it is a mixture of experts.
    has_chat_template: whether its tokenizer has one; None in what an earlier version has kept.
    """

    settings: Mapping[str, object]
    tokenizer: TokenizerDigests | None
    pieces: str | None
    is_mixture: bool = False
    has_chat_template: bool | None = None

    def refuse(self, reason: str) -> Verdict:
        """The verdict that refuses this model."""
        return self.candidate.refuse(reason)

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(header.shape) for header in self.headers.values())

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(math.prod(header.shape) * BITS.get(header.dtype, 8) for header in self.headers.values()) // 8

    @cached_property
    def dtype(self) -> str:
        """The safetensors name of the dtype of most tensors, such as BF16."""
        counts = Counter(header.dtype for header in self.headers.values())
        return min(counts, key=lambda name: (-counts[name], name))
