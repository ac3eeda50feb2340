"""Answers token requests with one transformers model in memory, whose weights change from candidate to candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from evaluation.engine.batches import BatchLimits
from evaluation.engine.forward import Forward
from evaluation.engine.generation import Answer, GenerationPlan, Prompt
from evaluation.engine.likelihood import LikelihoodPlan, Pair
from evaluation.engine.recent import Recent
from evaluation.engine.stops import StopStrings
from evaluation.engine.support import engine_refusal, generation_refusal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Engine:
    """Log-likelihoods and greedy generations, the same as those of single requests up to floating-point rounding.

    Requests are laid out once (a plan) and the plan is kept for the next candidate; prefixes that requests share are
    computed once; finished generations leave their batch. `refused` says why the engine cannot answer for a model,
    `generation_refused` why it cannot generate with it; both are None if it can.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.refused = engine_refusal(model)
        self.generation_refused = self.refused or generation_refusal(model)
        self._tokenizer = tokenizer
        self.plans = Recent()
        self._stops: dict[tuple[str, ...], StopStrings] = {}
        self.put(model)

    def put(self, model: PreTrainedModel) -> None:
        """Answer with another model from now on: of the same family, tokenizer and device, and of any depth."""
        if self.refused is None:
            self._device: torch.device = model.device
            self._forward, self.limits = Forward(model), BatchLimits.of(model)

    def log_likelihoods(
        self, pairs: Sequence[Pair], max_length: int, softmax_dtype: torch.dtype | None
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each pair's continuation; see `LikelihoodPlan`."""
        plan = self.plans.get(
            ("likelihoods", self.limits.likelihoods, max_length),
            pairs,
            lambda: LikelihoodPlan.of(pairs, max_length, self.limits, self._device),
        )
        return plan.answer(self._forward, softmax_dtype)

    def generate(self, prompts: Sequence[Prompt], ends: frozenset[int]) -> list[Answer]:
        """The greedy answer to each prompt. ends: tokens that end an answer."""
        if not prompts:
            return []
        for prompt in prompts:
            if prompt.until not in self._stops:
                self._stops[prompt.until] = StopStrings(self._tokenizer, prompt.until)
        plan = self.plans.get(
            ("generations", self.limits), prompts, lambda: GenerationPlan.of(prompts, self.limits, self._device)
        )
        return plan.answer(self._forward, ends, self._stops)
