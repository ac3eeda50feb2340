"""Answers token requests with one transformers model in memory, whose weights change from candidate to candidate."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from evaluation.engine.batches import BatchLimits
from evaluation.engine.cache import make_storing_cache
from evaluation.engine.forward import Forward, PrefixStates
from evaluation.engine.generation import Answer, GenerationPlan, Prompt
from evaluation.engine.likelihood import LikelihoodPlan, Pair
from evaluation.engine.pictures.processing import PictureEncoder
from evaluation.engine.pictures.rows import PictureRows
from evaluation.engine.recent import Recent
from evaluation.engine.rows import RowTensors
from evaluation.engine.stops import StopStrings
from evaluation.engine.support import engine_refusal, generation_refusal
from evaluation.engine.tree import Cut, Path, Prefix, SharedPrefixes, cut_tree

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchFeature, PreTrainedModel, PreTrainedTokenizerBase


Asked = TypeVar("Asked")

KEPT_SHARE = 4
"""The prefixes that are kept between the parts of a set may take 1/KEPT_SHARE of what a batch's cache may take."""


FLOAT32_SHARE, HALF_SHARE = 1e-3, 0.05
"""Rounding may change embeddings and logits by this share of their range; what the engine does otherwise than a model
changes them by more."""


class Engine:
    """Log-likelihoods and greedy generations, the same as those of single requests up to floating-point rounding.

    Requests are laid out once (a plan) and the plan is kept for the next candidate; prefixes that requests share are
    computed once; finished generations leave their batch. `refused` says why the engine cannot answer for a model,
    `generation_refused` why it cannot generate with it; both are None if it can.

    encoder: of texts with pictures, for a model that sees them: its tokens stand in the requests.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoder: PictureEncoder | None = None
    ) -> None:
        self.refused = engine_refusal(model, encoder)
        self.generation_refused = self.refused or generation_refusal(model)
        self._tokenizer = tokenizer
        self.plans = Recent()
        self._stops: dict[tuple[str, ...], StopStrings] = {}
        self.pictures = PictureRows(encoder) if encoder else None
        self.put(model)

    def put(self, model: PreTrainedModel) -> None:
        """Answer with another model from now on, of the same family, tokenizer and device, and of any depth; or with
        other weights of the same one."""
        self._states: dict[SharedPrefixes, PrefixStates] = {}
        if self.refused is None:
            self._device: torch.device = model.device
            if self.pictures:
                self.pictures.put(model)
            self._forward, self.limits = Forward(model, self.pictures), BatchLimits.of(model)

    def log_likelihoods(
        self,
        pairs: Sequence[Pair],
        max_length: int,
        softmax_dtype: torch.dtype | None,
        whole: Sequence[Pair] | None = None,
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each pair's continuation; see `LikelihoodPlan`.

        whole: all pairs that are asked in parts, of which these are one. The prefixes that parts share are computed
        once, until the next `put`: call it whenever weights have changed.
        """
        plan, shared = self._plan_likelihoods(pairs, max_length, whole)
        return plan.answer(self._forward, self._states_of(shared, plan.prefixes), softmax_dtype)

    def generate(
        self, prompts: Sequence[Prompt], ends: frozenset[int], whole: Sequence[Prompt] | None = None
    ) -> list[Answer]:
        """The greedy answer to each prompt. ends: tokens that end an answer. whole: as for `log_likelihoods`."""
        if not prompts:
            return []
        for prompt in prompts:
            if prompt.until not in self._stops:
                self._stops[prompt.until] = StopStrings(self._tokenizer, prompt.until)
        plan, shared = self._plan_generations(prompts, whole)
        return plan.answer(self._forward, self._states_of(shared, plan.prefixes), ends, self._stops)

    def answers_as_the_model(self, tokens: tuple[int, ...], inputs: BatchFeature) -> bool | None:
        """Whether a text with pictures is the same to the engine and to the model's own forward pass: what the decoder
        is given, and the logits after it.

        tokens, inputs: the text for both. None if the model's logits are not finite (broken weights).
        """
        given, expected = self._forward.own(inputs)
        if not expected.isfinite().all():
            return None
        (row,) = cut_tree([Path(tokens, 0)], Cut(0, 1))[0].rows
        rows = RowTensors.of([row], 0, 0, self._device)
        last = torch.tensor([len(tokens) - 1], device=self._device)
        found = self._forward.read(rows, make_storing_cache(None, self._forward.layers), last)[0]
        return _close(self._forward.embed(rows.tokens)[0], given) and _close(found, expected)

    def refuse(self, reason: str) -> None:
        """Answer nothing from now on."""
        self.refused = self.generation_refused = reason

    def likelihood_costs(self, parts: Sequence[Sequence[Pair]], max_length: int, whole: Sequence[Pair]) -> list[int]:
        """The cost of each part of `whole` in tokens, if the parts are asked one after the other."""
        return self._costs([self._plan_likelihoods(pairs, max_length, whole)[0] for pairs in parts])

    def generation_costs(self, parts: Sequence[Sequence[Prompt]], whole: Sequence[Prompt]) -> list[int]:
        """The cost of each part of `whole` in tokens, if the parts are asked one after the other."""
        return self._costs([self._plan_generations(prompts, whole)[0] for prompts in parts])

    def _costs(self, plans: Sequence[LikelihoodPlan | GenerationPlan]) -> list[int]:
        known = {0}  # the empty prefix
        costs = []
        for plan in plans:
            needed = set[int]()
            for number, prefix in enumerate(plan.prefixes):
                at: int | None = number if prefix.rows else None
                while at is not None:
                    needed.add(at)
                    at = plan.prefixes[at].parent
            tokens = sum(len(plan.prefixes[number].tokens) + self.limits.reading for number in needed - known)
            costs.append(plan.cost(self.limits) + tokens)
            known |= needed
        return costs

    def _plan_likelihoods(
        self, pairs: Sequence[Pair], max_length: int, whole: Sequence[Pair] | None
    ) -> tuple[LikelihoodPlan, SharedPrefixes | None]:
        kind, limits = ("likelihoods", self.limits.likelihoods, max_length), self.limits
        shared = self._share(kind, whole, lambda asked: LikelihoodPlan.share(asked, max_length, limits))
        plan = self.plans.get(
            (*kind, shared), pairs, lambda: LikelihoodPlan.of(pairs, max_length, limits, self._device, shared)
        )
        return plan, shared

    def _plan_generations(
        self, prompts: Sequence[Prompt], whole: Sequence[Prompt] | None
    ) -> tuple[GenerationPlan, SharedPrefixes | None]:
        kind, limits = ("generations", self.limits), self.limits
        shared = self._share(kind, whole, lambda asked: GenerationPlan.share(asked, limits))
        plan = self.plans.get(
            (*kind, shared), prompts, lambda: GenerationPlan.of(prompts, limits, self._device, shared)
        )
        return plan, shared

    def _share(
        self, kind: Hashable, whole: Sequence[Asked] | None, make: Callable[[Sequence[Asked]], SharedPrefixes]
    ) -> SharedPrefixes | None:
        """The prefixes of requests that are asked in parts; None for requests that are asked at once."""
        return None if whole is None else self.plans.get(("shared", kind), whole, lambda: make(whole))

    def _states_of(self, shared: SharedPrefixes | None, prefixes: Sequence[Prefix]) -> PrefixStates:
        if shared is None:
            return PrefixStates(self._forward, prefixes)
        if shared not in self._states:
            self._states[shared] = PrefixStates(self._forward, shared.prefixes, self.limits.cache // KEPT_SHARE)
        return self._states[shared]


def _close(found: Tensor, expected: Tensor) -> bool:
    share = FLOAT32_SHARE if found.dtype == torch.float32 else HALF_SHARE
    return bool((found - expected).abs().max() <= share * (expected.max() - expected.min()))
