"""lm-eval's model classes on a model in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM

from evaluation.errors import EvaluationError
from evaluation.harness.process_state import quiet

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class _Endings:
    """lm-eval's cache hook, called with each answer right after its batch: pairs it with how the answer ended."""

    def __init__(self) -> None:
        self.stopped: dict[tuple[str, str], bool] = {}
        self._batch: list[bool] = []

    def expect(self, batch: Sequence[bool]) -> None:
        """Set how the answers of the next batch ended, in the order in which lm-eval will report them."""
        self._batch = list(batch)

    def add_partial(self, kind: str, request: tuple[str, object], _answer: object) -> None:
        """Called by lm-eval for each answered request."""
        if kind == "generate_until":
            self.stopped[prompt_key(request)] = self._batch.pop(0)


class CandidateLM(LM):  # type: ignore[misc]  # lm-eval is untyped
    """What evaluation sets ask of a model besides lm-eval's own requests, for hundreds of candidates."""

    @abstractmethod
    def put(self, model: PreTrainedModel) -> None:
        """Answer with another model from now on; see `WrappedModel`."""

    @abstractmethod
    def stopped(self, request: Instance) -> bool | None:
        """Whether the last answer to a generation request ended by itself; None if it was not asked."""

    def asking_part_of(self, whole: Sequence[Instance]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Ask requests that are a part of `whole`, with the same weights as the other parts: nothing is shared."""
        return nullcontext()

    def costs(self, parts: Sequence[Sequence[Instance]], whole: Sequence[Instance]) -> list[float]:  # noqa: ARG002
        """What each part of `whole` costs beside the others, if they are asked one after the other: its characters."""
        return [float(sum(len(str(request.args[0])) for request in part)) for part in parts]


class PlainLM(CandidateLM, HFLM):  # type: ignore[misc]
    """HFLM that shows no progress bars and remembers which generated answers ended by themselves."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: str, batch_size: int
    ) -> None:
        """Weights changed in place count at the next request.

        Raises EvaluationError for a tokenizer without an end-of-text token, which lm-eval's generation needs.
        """
        if tokenizer.eos_token_id is None:
            raise EvaluationError("the tokenizer has no end-of-text token (eos_token); such a model cannot be scored")
        with quiet():
            super().__init__(pretrained=model.to(device), tokenizer=tokenizer, batch_size=batch_size)
        self.cache_hook = self._endings = _Endings()

    def put(self, model: PreTrainedModel) -> None:
        """Answer with another model from now on, of the same family, tokenizer and device, and of any depth; or with
        other weights of the same one."""
        self._model, self._config = model, model.config

    def stopped(self, request: Instance) -> bool | None:
        """Whether the last answer to a generation request ended by itself; None if it was not asked."""
        return self._endings.stopped.get(prompt_key(request.args))

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **options: object) -> Tensor:
        tokens: Tensor = super()._model_generate(context, max_length, stop, **options)
        start = context.shape[1]
        self._endings.expect([self._ended(row, max_length - start, stop) for row in tokens[:, start:].tolist()])
        return tokens

    def _ended(self, answer: list[int], room: int, stop: list[str]) -> bool:
        if len(answer) < room:  # lm-eval goes on until every row of a batch has stopped
            return True
        text = self.tokenizer.decode(answer, skip_special_tokens=False)
        return any(string and string in text for string in stop) or bool(self._end_tokens.intersection(answer))

    @property
    def _end_tokens(self) -> set[int]:
        ends = self.model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, list) else {ends}

    def _loglikelihood_tokens(self, requests: list[object], **options: object) -> list[tuple[float, bool]]:
        # Rolling requests pass disable_tqdm=False here, whatever they were given themselves.
        answers: list[tuple[float, bool]]
        answers = super()._loglikelihood_tokens(requests, **{**options, "disable_tqdm": True})
        return answers


def prompt_key(request: tuple[str, object]) -> tuple[str, str]:
    """The key of a generation request (prompt, options)."""
    prompt, options = request
    return prompt, repr(options)


def make_chat_renderer(tokenizer: PreTrainedTokenizerBase) -> Callable[..., str]:
    """lm-eval's function that renders a chat, from the tokenizer alone.

    Raises EvaluationError if the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise EvaluationError("chat_template is true, but the tokenizer has no chat template; set it to false")
    return partial(HFLM.apply_chat_template, SimpleNamespace(tokenizer=tokenizer, chat_template_args={}))
