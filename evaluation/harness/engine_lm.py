"""An lm-eval model on top of the engine: tokenizes requests by lm-eval's own rules and leaves the rest to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evaluation.engine.engine import Engine
from evaluation.engine.generation import Prompt
from evaluation.engine.likelihood import Pair
from evaluation.engine.recent import Recent
from evaluation.engine.support import is_greedy
from evaluation.harness.lm import PlainLM, prompt_key

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Encoded = tuple[object, list[int], list[int]]
"""lm-eval's encoded request: the request as text, the tokens of the context and of the continuation."""


class EngineLM(PlainLM):
    """Answers lm-eval's requests as its HFLM does with a batch size of one, faster.

    The tokens and the rules of truncation are HFLM's own. HFLM itself, with `batch_size`, answers for models that the
    engine refuses, and all requests for anything but greedy generation.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: str, batch_size: int
    ) -> None:
        super().__init__(model, tokenizer, device, batch_size)
        self.engine = Engine(self.model, tokenizer)
        self.tokenized = Recent()
        self._whole: Mapping[str, Sequence[Instance]] = {}
        self._text = lru_cache(maxsize=2**16)(self._decoded)

    def put(self, model: PreTrainedModel) -> None:
        """Answer with another model from now on, of the same family, tokenizer and device, and of any depth; or with
        other weights of the same one."""
        super().put(model)
        self.engine.put(model)

    @contextmanager
    def asking_part_of(self, whole: Sequence[Instance]) -> Iterator[None]:
        """Keep what the requests of the block share with the other requests of `whole`, until the next `put`."""
        self._whole = _by_kind(whole)
        try:
            yield
        finally:
            self._whole = {}

    def costs(self, parts: Sequence[Sequence[Instance]], whole: Sequence[Instance]) -> list[float]:
        """What each part of `whole` costs in tokens, if they are asked one after the other."""
        if self.engine.refused:
            return super().costs(parts, whole)
        totals = [0.0] * len(parts)
        kinds, every = [_by_kind(part) for part in parts], _by_kind(whole)
        for kind in every:
            for place, cost in enumerate(self._costs_of_kind(kind, [one.get(kind, []) for one in kinds], every[kind])):
                totals[place] += cost
        return totals

    def _costs_of_kind(
        self, kind: str, parts: Sequence[Sequence[Instance]], whole: Sequence[Instance]
    ) -> Sequence[float]:
        if kind == "generate_until" and not self.engine.generation_refused:
            prompts, every = [self._greedy(part) for part in parts], self._greedy(whole)
            return self.engine.generation_costs(prompts, every) if every else super().costs(parts, whole)
        if kind == "loglikelihood":
            pairs = [self.pairs(part) for part in parts]
            return self.engine.likelihood_costs(pairs, self.max_length, self.pairs(whole))
        if kind == "loglikelihood_rolling":
            pairs = [self._window_pairs(part) for part in parts]
            return self.engine.likelihood_costs(pairs, self.max_length, self._window_pairs(whole))
        return super().costs(parts, whole)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each continuation."""
        if self.engine.refused:
            answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
            return answers
        whole = self._whole.get("loglikelihood")
        return self._log_likelihoods(self.pairs(requests), self.pairs(whole) if whole else None)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each whole text, in windows as long as the model takes."""
        if self.engine.refused:
            answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
            return answers
        whole = self._whole.get("loglikelihood_rolling")
        answered = self._log_likelihoods(self._window_pairs(requests), self._window_pairs(whole) if whole else None)
        parts = iter(answered)
        return [sum(next(parts)[0] for _ in text) for text in self._all_windows(requests)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that each prompt is continued with."""
        prompts = self._prompts(requests)
        own = [index for index, prompt in enumerate(prompts) if prompt is not None]
        others = [index for index, prompt in enumerate(prompts) if prompt is None]
        answers: dict[int, str] = {}
        if others:
            left = [requests[index] for index in others]
            answers.update(zip(others, super().generate_until(left, disable_tqdm=disable_tqdm), strict=True))
        greedy, whole = self._greedy(requests), self._whole.get("generate_until")
        found = self.engine.generate(greedy, frozenset(self._end_tokens), self._greedy(whole) if whole else None)
        for index, prompt, answer in zip(own, greedy, found, strict=True):
            answers[index] = self._text(answer.tokens, prompt.until)
            self._endings.stopped[prompt_key(requests[index].args)] = answer.ended
        return [answers[index] for index in range(len(requests))]

    def _log_likelihoods(self, pairs: Sequence[Pair], whole: Sequence[Pair] | None) -> list[tuple[float, bool]]:
        return self.engine.log_likelihoods(pairs, self.max_length, self.softmax_dtype, whole)

    def pairs(self, requests: Sequence[Instance]) -> list[Pair]:
        """Tokens of contexts and continuations, from lm-eval's own method, stopped before it asks the model."""

        def record(encoded: list[Encoded], **_: bool) -> list[Encoded]:
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

        return self.tokenized.get("pairs", [request.args for request in requests], encode)

    def _all_windows(self, requests: Sequence[Instance]) -> list[list[Pair]]:
        texts = [request.args for request in requests]
        return self.tokenized.get("windows", texts, lambda: [self._windows(text) for (text,) in texts])

    def _windows(self, text: str) -> list[Pair]:
        """The windows of a text for a rolling likelihood: each token is a continuation once."""
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        pairs = map(make_disjoint_window, windows)
        return [(list(context), list(continuation)) for context, continuation in pairs]

    def _window_pairs(self, requests: Sequence[Instance]) -> list[Pair]:
        return [pair for text in self._all_windows(requests) for pair in text]

    def _greedy(self, requests: Sequence[Instance]) -> list[Prompt]:
        """Those requests that the engine answers."""
        return [prompt for prompt in self._prompts(requests) if prompt is not None]

    def _prompts(self, requests: Sequence[Instance]) -> list[Prompt | None]:
        """Each request as the engine takes it; None for those that are left to lm-eval."""
        if self.engine.generation_refused:
            return [None] * len(requests)
        asked = [request.args for request in requests]
        return self.tokenized.get("prompts", asked, lambda: [self._prompt(*arguments) for arguments in asked])

    def _prompt(self, context: str, asked: dict[str, object]) -> Prompt | None:
        options = normalize_gen_kwargs(asked, self.max_gen_toks)
        if not is_greedy(options):
            return None
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(options["until"], eos=eos)
        wanted = options["max_gen_toks"]
        room = self.max_length - wanted
        # An AssertionError, as lm-eval raises: LmEvalSet catches both.
        assert room > 0, f"asked to generate ({wanted}) tokens, but the model has no more than ({self.max_length})"
        encoded, _ = self.tok_batch_encode([context], left_truncate_len=room, truncation=self.truncation)
        tokens = tuple(int(token) for token in encoded[0].tolist())
        # In transformers, the generation config's max_new_tokens overrides the length that lm-eval passes.
        limit = self.model.generation_config.max_new_tokens or wanted
        fits = tokens and limit > 0 and len(tokens) + limit <= self.max_length
        return Prompt(tokens, tuple(until), limit) if fits else None

    def _decoded(self, tokens: tuple[int, ...], until: tuple[str, ...]) -> str:
        text = postprocess_generated_text(self.tok_decode(list(tokens)), stop=list(until), think_end_token=None)
        return str(text)


def _by_kind(requests: Sequence[Instance]) -> dict[str, list[Instance]]:
    kinds: dict[str, list[Instance]] = defaultdict(list)
    for request in requests:
        kinds[request.request_type].append(request)
    return kinds
