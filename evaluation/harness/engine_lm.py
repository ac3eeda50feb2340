"""lm-eval models on top of the engine: requests are encoded by lm-eval's own rules, and the rest is left to it."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evaluation.engine.engine import Engine
from evaluation.engine.generation import Prompt
from evaluation.engine.likelihood import Pair
from evaluation.engine.recent import Recent
from evaluation.engine.support import is_greedy
from evaluation.harness.lm import CandidateLM, PlainLM, prompt_key

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Encoded = tuple[object, list[int], list[int]]
"""lm-eval's encoded request: the request as text, the tokens of the context and of the continuation."""

Taken = TypeVar("Taken")


class EngineAnswers(CandidateLM):
    """Answers requests with the engine; those that it refuses are left to the next class among the bases.

    A subclass says what the engine takes for a request: None for one that is left.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    softmax_dtype: torch.dtype | None

    def use(self, engine: Engine) -> None:
        """Answer with this engine; to be called once, when the subclass is made."""
        self.engine = engine
        self.tokenized = Recent()
        self._whole: Mapping[str, Sequence[Instance]] = {}
        self._text = lru_cache(maxsize=2**16)(self._decoded)

    @abstractmethod
    def pairs(self, requests: Sequence[Instance]) -> Sequence[Pair | None]:
        """Tokens of contexts and continuations."""

    @abstractmethod
    def greedy_prompts(self, requests: Sequence[Instance]) -> Sequence[Prompt | None]:
        """Prompts to continue greedily."""

    @abstractmethod
    def remember_end(self, request: Instance, *, ended: bool) -> None:
        """Remember whether the answer to a request ended by itself."""

    def put(self, model: PreTrainedModel) -> None:
        """Answer with another model from now on, of the same family, tokenizer and device, and of any depth; or with
        other weights of the same one."""
        super().put(model)  # type: ignore[safe-super]  # it is the next class's
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
            for place, cost in enumerate(self.costs_of_kind(kind, [one.get(kind, []) for one in kinds], every[kind])):
                totals[place] += cost
        return totals

    def costs_of_kind(
        self, kind: str, parts: Sequence[Sequence[Instance]], whole: Sequence[Instance]
    ) -> Sequence[float]:
        """The costs of requests of one kind."""
        if kind == "generate_until" and not self.engine.generation_refused:
            prompts, all_prompts = (
                [_taken(self.greedy_prompts(part)) for part in parts],
                _taken(self.greedy_prompts(whole)),
            )
            return self.engine.generation_costs(prompts, all_prompts) if all_prompts else super().costs(parts, whole)
        if kind == "loglikelihood":
            pairs, all_pairs = [_taken(self.pairs(part)) for part in parts], _taken(self.pairs(whole))
            return self.engine.likelihood_costs(pairs, self.max_length, all_pairs)
        return super().costs(parts, whole)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each continuation."""
        if self.engine.refused:
            answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
            return answers
        pairs, whole = self.pairs(requests), self._whole.get("loglikelihood")
        found = self.answer_pairs(_taken(pairs), _taken(self.pairs(whole)) if whole else None)
        left = [request for request, pair in zip(requests, pairs, strict=True) if pair is None]
        return _in_order(pairs, found, super().loglikelihood(left, disable_tqdm=disable_tqdm) if left else [])

    def answer_pairs(self, pairs: Sequence[Pair], whole: Sequence[Pair] | None) -> list[tuple[float, bool]]:
        """As `loglikelihood`, from tokens; `whole`: all pairs of which these are a part."""
        return self.engine.log_likelihoods(pairs, self.max_length, self.softmax_dtype, whole)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that each prompt is continued with."""
        prompts, whole = self.greedy_prompts(requests), self._whole.get("generate_until")
        left = [request for request, prompt in zip(requests, prompts, strict=True) if prompt is None]
        others = super().generate_until(left, disable_tqdm=disable_tqdm) if left else []
        ends = self.model.generation_config.eos_token_id
        found = self.engine.generate(
            _taken(prompts),
            frozenset(ends if isinstance(ends, list) else [ends]),
            _taken(self.greedy_prompts(whole)) if whole else None,
        )
        own = [(request, prompt) for request, prompt in zip(requests, prompts, strict=True) if prompt is not None]
        for (request, _), answer in zip(own, found, strict=True):
            self.remember_end(request, ended=answer.ended)
        texts = [self._text(answer.tokens, prompt.until) for (_, prompt), answer in zip(own, found, strict=True)]
        return _in_order(prompts, texts, others)

    def greedy(self, asked: Mapping[str, object], max_gen_toks: int) -> tuple[tuple[str, ...], int, int] | None:
        """(strings that end an answer, most tokens of it, room for its prompt) by a request's options.

        None if they ask for anything but greedy search. An AssertionError, as lm-eval raises, if there is no room.
        """
        options = normalize_gen_kwargs(asked, max_gen_toks)
        if not is_greedy(options):
            return None
        eos = self.tokenizer.decode([self.tokenizer.eos_token_id], skip_special_tokens=False)
        wanted = options["max_gen_toks"]
        room = self.max_length - wanted
        assert room > 0, f"asked to generate ({wanted}) tokens, but the model has no more than ({self.max_length})"
        return tuple(handle_stop_sequences(options["until"], eos=eos)), wanted, room

    def prompt(self, tokens: tuple[int, ...], until: tuple[str, ...], wanted: int) -> Prompt | None:
        """A prompt of these tokens, if the engine takes it."""
        # In transformers, the generation config's max_new_tokens overrides the length that lm-eval passes.
        limit = self.model.generation_config.max_new_tokens or wanted
        fits = tokens and limit > 0 and len(tokens) + limit <= self.max_length
        return Prompt(tokens, until, limit) if fits else None

    def _decoded(self, tokens: tuple[int, ...], until: tuple[str, ...]) -> str:
        text = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return str(postprocess_generated_text(text, stop=list(until), think_end_token=None))


class EngineLM(EngineAnswers, PlainLM):
    """Answers lm-eval's requests as its HFLM does with a batch size of one, faster.

    The tokens and the rules of truncation are HFLM's own. HFLM itself, with `batch_size`, answers for models that the
    engine refuses, and all requests for anything but greedy generation.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: str, batch_size: int
    ) -> None:
        super().__init__(model, tokenizer, device, batch_size)
        self.use(Engine(self.model, tokenizer))

    def costs_of_kind(
        self, kind: str, parts: Sequence[Sequence[Instance]], whole: Sequence[Instance]
    ) -> Sequence[float]:
        """As `EngineAnswers`."""
        if kind == "loglikelihood_rolling":
            pairs = [self._window_pairs(part) for part in parts]
            return self.engine.likelihood_costs(pairs, self.max_length, self._window_pairs(whole))
        return super().costs_of_kind(kind, parts, whole)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each whole text, in windows as long as the model takes."""
        if self.engine.refused:
            answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
            return answers
        whole = self._whole.get("loglikelihood_rolling")
        answered = self.answer_pairs(self._window_pairs(requests), self._window_pairs(whole) if whole else None)
        parts = iter(answered)
        return [sum(next(parts)[0] for _ in text) for text in self._all_windows(requests)]

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

    def greedy_prompts(self, requests: Sequence[Instance]) -> list[Prompt | None]:
        """Each request as the engine takes it; None for those that are left to lm-eval."""
        if self.engine.generation_refused:
            return [None] * len(requests)
        asked = [request.args for request in requests]
        return self.tokenized.get("prompts", asked, lambda: [self._prompt(*arguments) for arguments in asked])

    def remember_end(self, request: Instance, *, ended: bool) -> None:
        """As `EngineAnswers`."""
        self._endings.stopped[prompt_key(request.args)] = ended

    def _prompt(self, context: str, asked: dict[str, object]) -> Prompt | None:
        options = self.greedy(asked, self.max_gen_toks)
        if options is None:
            return None
        until, wanted, room = options
        encoded, _ = self.tok_batch_encode([context], left_truncate_len=room, truncation=self.truncation)
        return self.prompt(tuple(int(token) for token in encoded[0].tolist()), until, wanted)


def _taken(encoded: Sequence[Taken | None]) -> list[Taken]:
    """What the engine takes of some requests."""
    return [one for one in encoded if one is not None]


def _in_order(encoded: Sequence[object], own: Sequence[Taken], left: Sequence[Taken]) -> list[Taken]:
    """The engine's answers and those to the requests that it left, in the order of the requests."""
    answers, others = iter(own), iter(left)
    return [next(others) if one is None else next(answers) for one in encoded]


def _by_kind(requests: Sequence[Instance]) -> dict[str, list[Instance]]:
    kinds: dict[str, list[Instance]] = defaultdict(list)
    for request in requests:
        kinds[request.request_type].append(request)
    return kinds
