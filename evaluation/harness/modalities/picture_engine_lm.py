"""A vision-language model as lm-eval asks it, on the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from lm_eval.api.instance import Instance

from evaluation.engine.engine import Engine
from evaluation.engine.generation import Prompt
from evaluation.engine.likelihood import Pair
from evaluation.engine.pictures.processing import PictureEncoder, prepare_once
from evaluation.engine.recent import Recent
from evaluation.errors import EvaluationError
from evaluation.harness.engine_lm import EngineAnswers
from evaluation.harness.modalities.picture_lm import MAX_GEN_TOKS, PictureLM
from evaluation.harness.modalities.prompts import digests_of, pictures_of, request_facts

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedModel, ProcessorMixin


class PictureEngineLM(EngineAnswers, PictureLM):
    """Answers requests with pictures as `PictureLM` does, faster; it leaves what the engine refuses to that.

    Each picture goes through tower and projector once for as long as their weights stay the same.
    """

    softmax_dtype = torch.float32

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, device: str) -> None:
        super().__init__(model, prepare_once(processor), device)
        image_token = getattr(model.config, "image_token_id", None)
        if image_token is None:
            image_token = self.tokenizer.convert_tokens_to_ids(self.prompts.mark)
        self._encoder = PictureEncoder(self.prompts.encode, image_token)
        self.use(Engine(self.model, self.tokenizer, self._encoder))
        self._compared = {0}

    def ask_once(self, asked: Sequence[tuple[str, Image]], answers: Sequence[str]) -> list[list[float]]:
        """The log-likelihood of each answer after each prompt, which has one picture; nothing of a picture is kept.

        Raises EvaluationError if a prompt does not fit the model.
        """
        requests = [
            Instance("loglikelihood", {}, (prompt, answer, {"visual": [picture]}), place, (None, 0, 1))
            for prompt, picture in asked
            for place, answer in enumerate(answers)
        ]
        try:
            found = [likelihood for likelihood, _ in self.loglikelihood(requests, disable_tqdm=True)]
        except AssertionError as error:  # how lm-eval says that a request does not fit the model
            raise EvaluationError(f"the model cannot answer: {error}") from error
        finally:
            self.tokenized = Recent()
            if self.engine.pictures:
                self.engine.pictures.forget()
        return [found[start : start + len(answers)] for start in range(0, len(found), len(answers))]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each continuation."""
        self._compare(requests, self.pairs)
        return super().loglikelihood(requests, disable_tqdm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that each prompt is continued with."""
        self._compare(requests, self.greedy_prompts)
        return super().generate_until(requests, disable_tqdm)

    def pairs(self, requests: Sequence[Instance]) -> list[Pair | None]:
        """Tokens of contexts, with private ids for pictures, and of continuations, as `PictureLM` encodes them."""
        return self.tokenized.get(
            "pairs", [request.args for request in requests], lambda: [self._pair(request) for request in requests]
        )

    def greedy_prompts(self, requests: Sequence[Instance]) -> list[Prompt | None]:
        """Each request as the engine takes it; None for those that are left to `PictureLM`."""
        if self.engine.generation_refused:
            return [None] * len(requests)
        return self.tokenized.get(
            "prompts", [request.args for request in requests], lambda: [self._prompt(request) for request in requests]
        )

    def remember_end(self, request: Instance, *, ended: bool) -> None:
        """As `EngineAnswers`."""
        self._stopped[repr(request_facts(request))] = ended

    def _pair(self, request: Instance) -> Pair | None:
        context, continuation = request.args[:2]
        if not context:
            return self.prompts.first_tokens(continuation)
        bare, tokens = self.prompts.continuation(context, continuation)
        assert len(tokens) <= self.max_length, f"a continuation has {len(tokens)} tokens"
        encoded = self._encode(bare, request, self.max_length + 1 - len(tokens))
        return None if encoded is None else (list(encoded), tokens)

    def _prompt(self, request: Instance) -> Prompt | None:
        options = self.greedy(request.args[1], MAX_GEN_TOKS)
        if options is None:
            return None
        until, wanted, room = options
        tokens = self._encode(request.args[0], request, room)
        return None if tokens is None else self.prompt(tokens, until, wanted)

    def _encode(self, text: str, request: Instance, room: int) -> tuple[int, ...] | None:
        """A text's tokens with the pictures of a request, at most `room` of them; raises as `PictureLM._fit` does."""
        tokens = self._encoder.encode(text, pictures_of(request), digests_of(request))
        if tokens is None:
            return None
        plain = torch.tensor([[token if token >= 0 else self._encoder.image_token for token in tokens]])
        kept = self._fit({"input_ids": plain}, room, request)["input_ids"].shape[1]
        return tokens[len(tokens) - kept :]

    def _compare(
        self, requests: Sequence[Instance], encode: Callable[[Sequence[Instance]], Sequence[object | None]]
    ) -> None:
        """Leave everything to `PictureLM` if prompts are not the same to engine and model, for whatever reason.

        Compared once for each number of pictures in a prompt, on the first model with sound weights. encode: what the
        engine takes of the requests.
        """
        counts = set() if self.engine.refused else {len(pictures_of(request)) for request in requests}
        if not counts - self._compared:
            return
        for request, taken in zip(requests, encode(requests), strict=True):
            if taken is not None and len(pictures_of(request)) not in self._compared:
                same = self._is_same(request)
                if same is False:
                    self.engine.refuse("pictures are more to it than the engine gives it")
                if not same:
                    return
                self._compared.add(len(pictures_of(request)))

    def _is_same(self, request: Instance) -> bool | None:
        """Whether a prompt is the same to engine and model; None if the model's logits are not finite."""
        text, pictures = request.args[0], pictures_of(request)
        tokens = self._encoder.encode(text, pictures, digests_of(request))
        return self.engine.answers_as_the_model(tokens, self.prompts.encode(text, pictures)) if tokens else None
