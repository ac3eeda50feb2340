"""An lm-eval model for one transformers model in memory whose weights change from candidate to candidate."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evaluation.engine.batches import Budget
from evaluation.engine.forward import Forward
from evaluation.engine.generation import GenerationPlan, Prompt
from evaluation.engine.likelihood import LikelihoodPlan, Pair
from evaluation.engine.stops import StopStrings
from evaluation.engine.support import is_greedy, refusal, refuses_generation
from evaluation.errors import EvaluationError
from evaluation.harness.lm import Harness, prompt_key, quiet

Made = TypeVar("Made")

PLANS_KEPT = 128
"""The kinds of requests of three splits, and of each round of a race, for models of several depths."""


class Engine(Harness):
    """Answers lm-eval's requests as its HFLM does, faster.

    Requests are tokenized and laid out once and kept for the next candidate; what they share is computed once;
    finished answers leave their batch. Answers are those of HFLM with a batch size of one, up to the rounding of
    floating-point sums: the tokens and rules are HFLM's own. `refused` names why a model, and `generation_refused`
    why its generations, are left to HFLM's way; requests for anything but greedy search are too.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        super().__init__(model, tokenizer, batch_size)
        self.refused = refusal(model)
        self.generation_refused = self.refused or refuses_generation(model)
        self._plans: deque[tuple[Hashable, list[Any], Any]] = deque(maxlen=PLANS_KEPT)
        self._stops: dict[tuple[str, ...], StopStrings] = {}
        self._text = lru_cache(maxsize=2**16)(self._decoded)

    def put(self, model: Any) -> None:
        """Answer with another model from now on: of the same family, tokenizer and device, and of any depth."""
        self._model, self._config = model, model.config
        for derived in ("_forward", "_budget"):
            self.__dict__.pop(derived, None)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each continuation."""
        if self.refused:
            answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
            return answers
        plan = self._kept(
            ("pairs", self._budget.likelihoods), requests, lambda: self._likelihoods(self._pairs(requests))
        )
        return plan.answer(self._forward, self.softmax_dtype)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each whole text, in windows as long as the model takes."""
        if self.refused:
            answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
            return answers
        plan, counts = self._kept(("texts", self._budget.likelihoods), requests, lambda: self._rolling(requests))
        parts = iter(plan.answer(self._forward, self.softmax_dtype))
        return [sum(next(parts)[0] for _ in range(count)) for count in counts]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that each prompt is continued with."""
        plan, own, others = self._kept(("prompts", self._budget), requests, lambda: self._generations(requests))
        answers: dict[int, str] = {}
        if others:
            left = [requests[index] for index in others]
            answers.update(zip(others, super().generate_until(left, disable_tqdm=disable_tqdm), strict=True))
        for index, prompt, answer in zip(own, plan.prompts, self._generated(plan), strict=True):
            answers[index] = self._text(answer.tokens, prompt.until)
            self._endings.stopped[prompt_key(requests[index].args)] = answer.ended
        return [answers[index] for index in range(len(requests))]

    @cached_property
    def _forward(self) -> Forward:
        return Forward(self.model)

    @cached_property
    def _budget(self) -> Budget:
        return Budget.of(self.model)

    def _kept(self, kind: Hashable, requests: Sequence[Instance], make: Callable[[], Made]) -> Made:
        """What was made of these requests before, or is now; of what is seldom asked for, it is made again."""
        asked = [request.args for request in requests]
        for index, (other, known, _) in enumerate(self._plans):
            if other == kind and known == asked:
                made: Made = self._plans[index][2]
                del self._plans[index]
                break
        else:
            made = make()
        self._plans.append((kind, asked, made))
        return made

    def _likelihoods(self, pairs: Sequence[Pair]) -> LikelihoodPlan:
        return LikelihoodPlan.of(pairs, self.max_length, self._budget, self.device)

    def _pairs(self, requests: Sequence[Instance]) -> list[Pair]:
        """Tokens as lm-eval's own method makes them, which is stopped before it asks the model."""

        def record(encoded: list[Any], **_: bool) -> list[Any]:
            return encoded

        recorder = SimpleNamespace(
            tok_encode=self.tok_encode,
            _encode_pair=self._encode_pair,
            prefix_token_id=self.prefix_token_id,
            _loglikelihood_tokens=record,
        )

        def encode() -> list[Pair]:
            encoded = TemplateLM.loglikelihood(recorder, list(requests), disable_tqdm=True)
            return [(context, continuation) for _, context, continuation in encoded]

        return self._kept("tokens", requests, encode)

    def _rolling(self, requests: Sequence[Instance]) -> tuple[LikelihoodPlan, list[int]]:
        """The plan for all windows of all texts, and how many windows each text has."""
        windows = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    token_list=self.tok_encode(request.args[0]),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                )
            ]
            for request in requests
        ]
        pairs = [(list(context), list(continuation)) for text in windows for context, continuation in text]
        return self._likelihoods(pairs), [len(text) for text in windows]

    def _generations(self, requests: Sequence[Instance]) -> tuple[GenerationPlan, list[int], list[int]]:
        """The plan for the requests that the engine answers itself; the indices of these, and of the others."""
        prompts = self._kept(
            "prompt tokens",
            requests,
            lambda: [None if self.generation_refused else self._prompt(request) for request in requests],
        )
        own = {index: prompt for index, prompt in enumerate(prompts) if prompt is not None}
        others = [index for index, prompt in enumerate(prompts) if prompt is None]
        return GenerationPlan.of(list(own.values()), self._budget, self.device) if own else _NOTHING, list(own), others

    def _prompt(self, request: Instance) -> Prompt | None:
        """A request as the engine takes it; None if it asks for more than greedy search, or leaves no room for it."""
        context, asked = request.args
        options = normalize_gen_kwargs(asked, self.max_gen_toks)
        if not is_greedy(options):
            return None
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(options["until"], eos=eos)
        told = options["max_gen_toks"]
        room = self.max_length - told
        # An AssertionError, as lm-eval raises: its callers know what it means.
        assert room > 0, f"asked to generate ({told}) tokens, but the model has no more than ({self.max_length})"
        encoded, _ = self.tok_batch_encode([context], left_truncate_len=room, truncation=self.truncation)
        tokens = tuple(int(token) for token in encoded[0].tolist())
        # transformers puts the model's own limit before that which lm-eval tells.
        limit = self.model.generation_config.max_new_tokens or told
        possible = tokens and limit > 0 and len(tokens) + limit <= self.max_length
        return Prompt(tokens, tuple(until), limit) if possible else None

    def _generated(self, plan: GenerationPlan) -> list[Any]:
        for prompt in plan.prompts:
            if prompt.until not in self._stops:
                self._stops[prompt.until] = StopStrings(self.tokenizer, prompt.until)
        return plan.answer(self._forward, frozenset(self._end_tokens), self._stops) if plan.prompts else []

    def _decoded(self, tokens: tuple[int, ...], until: tuple[str, ...]) -> str:
        text = postprocess_generated_text(self.tok_decode(list(tokens)), stop=list(until), think_end_token=None)
        return str(text)


_NOTHING = GenerationPlan((), (), ())


def engine(model: Any, tokenizer: Any, device: str, batch_size: int) -> Engine:
    """shoal's engine for a transformers model in memory: weights changed in place count at the next request.

    batch_size: of what is left to lm-eval's own way. Raises EvaluationError for a tokenizer without an end-of-text
    token, which lm-eval's generation needs.
    """
    if tokenizer.eos_token_id is None:
        raise EvaluationError("the tokenizer has no end-of-text token (eos_token); such a model cannot be scored")
    with quiet():
        return Engine(model.to(device), tokenizer, batch_size)
