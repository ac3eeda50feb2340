"""A model that can be merged, as the Hub, its small files and its tensor headers describe it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from bot.hub.discovery.candidate import Candidate, Verdict
from merging.dtypes import BITS
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.kinds.kind import NO_COMPONENTS, Components
from merging.models.components import lacked_components, language_names, read_components
from merging.models.experts import Experts, read_experts
from merging.models.settings import language_settings
from merging.sources.family import TensorHeader
from merging.tensor_names import parse_name
from merging.tokenizers.comparison import TokenizerDigests

_LORA_UP = {"lora_A": "lora_B", "lora_embedding_A": "lora_embedding_B", "down": "up"}
_LORA_DOWN = re.compile(r"lora_A|lora_embedding_A|((?<=lora[._])|(?<=lora_linear_layer\.))down(?=\.weight$)")
"""In the names of a LoRA's matrices, as peft, diffusers and kohya's scripts have them: what says which of two it is."""


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
        return ModelId(self.candidate.repo, self.candidate.sha, file=self.candidate.meant_file)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return _stored_bytes(self.headers)

    @property
    def conversion_bytes(self) -> int:
        """Bytes of room that the conversion of its pickles needs besides them; 0 if it has safetensors."""
        return self.weight_bytes if self.candidate.is_pickled else 0


@dataclass(frozen=True)
class Adaptation:
    """The two repos of a model that is an adapter on a base: the base's files, and the adapter's.

    changes: names of the components that the adapter changes; none where it was not asked, as models have one.
    """

    base: RemoteWeights
    adapter: RemoteWeights
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """A model that can be merged, as the Hub, its small files and its tensor headers describe it.

    candidate: the repo that was found: a whole model's, or an adapter's.
    headers: tensor name → header, by the names that merges have for them; with an adapter those of its base.
    settings: the meaning of its config.json. tokenizer: the meaning of its tokenizer.json, if it has one.
    pieces: the Hub's hash of its tokenizer.model, if it has one.
    has_chat_template: whether its tokenizer has one; None in what an earlier version has kept.
    adaptation: its repos if it is an adapter on a base; None for a whole model.
    kind: name of the kind that its config says. config: the content of config.json; empty in what an earlier version
    has kept.
    stored: its headers by the names in its files, where those are others; None where they are the same.
    processor: the settings of what turns inputs other than texts into tensors, or of a pipeline's scheduler; none of a
    kind that has neither.
    tokenizers: the meaning of the tokenizer of each text encoder, by its folder; none of a model that has one.
    partial: whether it is only a part of a model, such as a denoiser alone: config, processor and tokenizers are those
    of the carrier, within which it is read.
    """

    candidate: Candidate
    headers: Mapping[str, TensorHeader]
    settings: Mapping[str, object]
    tokenizer: TokenizerDigests | None
    pieces: str | None
    has_chat_template: bool | None = None
    adaptation: Adaptation | None = None
    kind: str = "language"
    config: Mapping[str, object] = field(default_factory=dict)
    stored: Mapping[str, TensorHeader] | None = None
    processor: Mapping[str, object] = field(default_factory=dict)
    tokenizers: Mapping[str, TokenizerDigests] = field(default_factory=dict)
    partial: bool = False

    @property
    def repo(self) -> str:
        """owner/name of the repo that was found, by which a pool names it."""
        return self.candidate.repo

    @property
    def sha(self) -> str:
        """The commit of that repo."""
        return self.candidate.sha

    @property
    def ref(self) -> ModelId:
        """The model in a recipe; with its adapter if it has one."""
        if self.adaptation is None:
            return self.remotes[0].ref
        return replace(self.adaptation.base.ref, adapter=self.adaptation.adapter.ref)

    @property
    def remotes(self) -> tuple[RemoteWeights, ...]:
        """The repos to fetch: its own; or its base's, then its adapter's."""
        if self.adaptation is None:
            return (RemoteWeights(self.candidate, self.headers if self.stored is None else self.stored),)
        return (self.adaptation.base, self.adaptation.adapter)

    def refuse(self, reason: str) -> Verdict:
        """The verdict that refuses this model."""
        return self.candidate.refuse(reason)

    @cached_property
    def experts(self) -> Experts | None:
        """Its experts, if it is a mixture of experts."""
        return read_experts(self.language)

    @cached_property
    def language(self) -> Mapping[str, object]:
        """The settings of its language model: all that it has, unless that is only a part of it."""
        return language_settings(self.settings)

    @cached_property
    def components(self) -> Components:
        """Its components, the one that is searched first; none of a model that is nothing else."""
        if not KINDS[self.kind].other_components:
            return NO_COMPONENTS
        found = read_components(self.config, f"the config of {self.repo}")
        lacking = lacked_components(found, self.headers) if self.partial else ()
        return {name: paths for name, paths in found.items() if name not in lacking}

    def is_part_of(self, kind: str) -> bool:
        """Whether it is only a part of a model of a kind: of an inner kind, or without some components of its own."""
        return self.partial or self.kind != kind

    @cached_property
    def layers(self) -> int:
        """Number of layers, or of other stages, of its first component."""
        return KINDS[self.kind].count_layers(self.headers, self.components)

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(header.shape) for header in self.headers.values())

    @cached_property
    def rows(self) -> int | None:
        """Number of tokens that its embeddings have rows for, by its config; None if no tensor has as many."""
        return self._stated_rows if self.by_token else None

    @cached_property
    def by_token(self) -> tuple[str, ...]:
        """The names of its tensors with a row per token: outside the layers, and as high as its config says."""
        return tuple(
            name
            for name, header in self.headers.items()
            if header.shape and header.shape[0] == self._stated_rows and parse_name(name).layer is None
        )

    def headers_with(self, rows: int | None) -> dict[str, TensorHeader]:
        """Its headers, as they are with another number of rows; None: with its own."""
        if rows is None:
            return dict(self.headers)
        return {
            name: replace(header, shape=(rows, *header.shape[1:])) if name in self.by_token else header
            for name, header in self.headers.items()
        }

    def divide(self, headers: Mapping[str, TensorHeader]) -> tuple[dict[str, TensorHeader], dict[str, TensorHeader]]:
        """Headers by its names: those of its language model, and the others."""
        inside = set(language_names(headers, self.components))
        return (
            {name: header for name, header in headers.items() if name in inside},
            {name: header for name, header in headers.items() if name not in inside},
        )

    @property
    def _stated_rows(self) -> int | None:
        stated = self.language.get("vocab_size")
        return stated if isinstance(stated, int) else None

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return _stored_bytes(self.headers)

    @cached_property
    def difference_bytes(self) -> int:
        """Bytes of what its adapter adds to its base, which is stored once it is fetched; 0 of a whole model."""
        if self.adaptation is None:
            return 0
        adapter = self.adaptation.adapter
        shapes = {name: header.shape for name, header in adapter.headers.items()}
        named = {name: _LORA_DOWN.sub(lambda found: _LORA_UP[found[0]], name) for name in shapes}
        pairs = [(down, up) for down, up in named.items() if down != up]
        width = 2 if BITS[self.dtype] == 16 and adapter.candidate.lora_file is None else 4
        return width * sum(math.prod(shapes[down][1:]) * shapes[up][0] for down, up in pairs)

    @cached_property
    def dtype(self) -> str:
        """The safetensors name of the dtype of most tensors, such as BF16."""
        counts = Counter(header.dtype for header in self.headers.values())
        return min(counts, key=lambda name: (-counts[name], name))


def distinct_remotes(members: Iterable[Member]) -> tuple[RemoteWeights, ...]:
    """The repos of some members, each once: adapters may share a base, or be on one that is a member itself."""
    return tuple({remote.ref: remote for member in members for remote in member.remotes}.values())


def _stored_bytes(headers: Mapping[str, TensorHeader]) -> int:
    return sum(math.prod(header.shape) * BITS.get(header.dtype, 8) for header in headers.values()) // 8
