"""A vision-language model as lm-eval asks it, by transformers' own processor, `generate` and forward pass."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
    resolve_max_length,
)
from lm_eval.models.utils_hf import stop_sequences_criteria

from evaluation.errors import EvaluationError
from evaluation.harness.lm import CandidateLM
from evaluation.harness.modalities.prompts import PicturePrompts, digests_of, pictures_of, request_facts

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

MAX_GEN_TOKS = 256
"""lm-eval's limit of an answer for tasks without one of their own."""


class PictureLM(CandidateLM):
    """Answers requests with pictures one by one: slow, and right for every family.

    lm-eval's own `hf-multimodal` answers the same texts; it has no likelihoods, takes no processor in memory, and cuts
    picture tokens of long prompts without a word.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, device: str) -> None:
        """Weights changed in place count at the next request.

        Raises EvaluationError for a processor without pictures, or a tokenizer without an end-of-text token.
        """
        super().__init__()
        self.prompts = PicturePrompts(processor)
        self.tokenizer = processor.tokenizer
        if self.tokenizer.eos_token_id is None:
            raise EvaluationError("the tokenizer has no end-of-text token (eos_token); such a model cannot be scored")
        self.model = model.to(device)
        self._stopped: dict[str, bool] = {}

    def put(self, model: PreTrainedModel) -> None:
        """Answer with another model from now on, of the same family, processor and device."""
        self.model = model

    @property
    def max_length(self) -> int:
        """Positions of the language model."""
        return int(resolve_max_length(self.model.config, self.tokenizer))

    def stopped(self, request: Instance) -> bool | None:
        """Whether the last answer to a generation request ended by itself; None if it was not asked."""
        return self._stopped.get(repr(request_facts(request)))

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """The text that each prompt is continued with."""
        return [self._generate(request) for request in requests]

    def loglikelihood(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: ARG002
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each continuation."""
        return list(self._likelihoods(requests))

    def loglikelihood_rolling(
        self,
        requests: list[Instance],
        disable_tqdm: bool = False,  # noqa: ARG002
    ) -> list[float]:
        """Not asked: a text of which every token is scored has no place for a picture."""
        raise EvaluationError(
            f"task {requests[0].task_name}: it scores whole texts (loglikelihood_rolling), which have no place for "
            "pictures; use multiple_choice or generate_until"
        )

    def _generate(self, request: Instance) -> str:
        options = normalize_gen_kwargs(request.args[1], MAX_GEN_TOKS)
        eos = self.tokenizer.decode([self.tokenizer.eos_token_id], skip_special_tokens=False)
        until = handle_stop_sequences(options.pop("until"), eos=eos)
        wanted = options.pop("max_gen_toks")
        room = self.max_length - wanted
        assert room > 0, f"asked to generate ({wanted}) tokens, but the model has no more than ({self.max_length})"
        inputs = self._fit(self.prompts.encode(request.args[0], pictures_of(request)), room, request)
        start = inputs["input_ids"].shape[1]
        if not options.get("do_sample"):
            options.pop("temperature", None)
        with torch.inference_mode():
            tokens = self.model.generate(
                **self._to_device(inputs),
                max_length=start + wanted,
                stopping_criteria=stop_sequences_criteria(self.tokenizer, until, start, 1),
                pad_token_id=self.tokenizer.pad_token_id,
                use_cache=True,
                **options,
            )
        answer = tokens[0, start:].tolist()
        self._stopped[repr(request_facts(request))] = self._ended(answer, wanted, until)
        text = self.tokenizer.decode(answer, skip_special_tokens=True)
        return str(postprocess_generated_text(text, stop=until, think_end_token=None))

    def _ended(self, answer: list[int], room: int, until: Sequence[str]) -> bool:
        ends = self.model.generation_config.eos_token_id
        if len(answer) < room or set(ends if isinstance(ends, list) else [ends]).intersection(answer):
            return True
        text = self.tokenizer.decode(answer, skip_special_tokens=False)
        return any(string and string in text for string in until)

    def _likelihoods(self, requests: Sequence[Instance]) -> Iterator[tuple[float, bool]]:
        """One forward pass a request; requests of one prompt that follow each other are prepared once."""
        prepared: tuple[object, BatchFeature] | None = None
        for request in requests:
            context, continuation = request.args[:2]
            pictures = pictures_of(request)
            if context:
                bare, tokens = self.prompts.continuation(context, continuation)
                key = bare, digests_of(request)
                if prepared is None or prepared[0] != key:
                    prepared = key, self.prompts.encode(bare, pictures)
                inputs = prepared[1]
            else:
                first, tokens = self.prompts.first_tokens(continuation)
                inputs = {"input_ids": torch.tensor([first]), "attention_mask": torch.ones(1, len(first)).long()}
            yield self._likelihood(inputs, tokens, request)

    def _likelihood(self, inputs: Mapping[str, Tensor], tokens: list[int], request: Instance) -> tuple[float, bool]:
        assert len(tokens) <= self.max_length, f"a continuation has {len(tokens)} tokens"
        context = self._fit(inputs, self.max_length + 1 - len(tokens), request)
        whole = self._to_device(_followed_by(context, tokens[:-1], self.prompts.token_inputs(context)))
        with torch.inference_mode():
            logits = self.model(**whole, use_cache=False).logits[0, -len(tokens) :].float()
            likely = logits.log_softmax(dim=-1)
        wanted = torch.tensor(tokens, device=likely.device)
        found = likely.gather(1, wanted[:, None]).sum()
        return float(found), bool((likely.argmax(dim=-1) == wanted).all())

    def _fit(self, inputs: Mapping[str, Tensor], room: int, request: Instance) -> dict[str, Tensor]:
        """The inputs with at most `room` tokens, as lm-eval cuts them: from the left, but never a picture's token."""
        tokens = inputs["input_ids"]
        length = tokens.shape[1]
        if length <= room:
            return dict(inputs)
        pictures = sum(token in self.prompts.picture_ids for token in tokens[0, : length - room].tolist())
        if pictures:
            raise EvaluationError(
                f"task {request.task_name}: the prompt that ends in {request.args[0][-60:]!r} has {length} tokens, and "
                f"the model has room for {room}: {pictures} picture tokens would be cut; use smaller pictures, fewer "
                "examples, or a lower max_gen_toks"
            )
        of_tokens = self.prompts.token_inputs(inputs)
        return {key: value[:, -room:] if key in of_tokens else value for key, value in inputs.items()}

    def _to_device(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs where the model is, pixels in its dtype."""
        device, dtype = self.model.device, self.model.dtype
        return {
            key: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for key, value in inputs.items()
        }


def _followed_by(inputs: Mapping[str, Tensor], tokens: Sequence[int], of_tokens: Collection[str]) -> dict[str, Tensor]:
    """The inputs with further tokens of text at the end; what else has a value for each token goes on, too."""
    added = {"input_ids": torch.tensor([list(tokens)], dtype=torch.long), "attention_mask": torch.ones(1, len(tokens))}

    def extend(key: str, value: Tensor) -> Tensor:
        if key not in of_tokens:
            return value
        more = added.get(key, torch.zeros(1, len(tokens)))  # 0 is text among the types of tokens
        return torch.cat([value, more.to(value.dtype)], dim=1)

    return {key: extend(key, value) for key, value in inputs.items()}
