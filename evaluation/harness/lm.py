"""lm-eval's own model class on a model in memory, and lm-eval without its chatter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import datasets
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from evaluation.errors import EvaluationError

CHATTY = ("lm_eval", "datasets", "transformers", "huggingface_hub")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps lm-eval and what it uses from printing while the block runs: errors alone are logged."""
    levels = {logger: logger.level for logger in map(logging.getLogger, CHATTY)}
    # To set a level takes milliseconds, for every logger there is forgets what it knew: not where it is set already.
    loud = {logger: level for logger, level in levels.items() if level != logging.ERROR}
    bars = not datasets.are_progress_bars_disabled()
    try:
        for logger in loud:
            logger.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        yield
    finally:
        for logger, level in loud.items():
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


# lm-eval compiles a template anew for every document; a template's text determines what it compiles to.
_compiled = lru_cache(maxsize=1024)(utils.env.from_string)


@contextmanager
def compiled_templates() -> Iterator[None]:
    """Lets lm-eval compile each of its Jinja templates once while the block runs."""
    original = utils.env.from_string
    utils.env.from_string = _compiled
    try:
        yield
    finally:
        utils.env.from_string = original


class _Endings:
    """lm-eval's cache hook, told of each answer right after its batch: pairs it with how the answer ended."""

    def __init__(self) -> None:
        self.stopped: dict[tuple[str, str], bool] = {}
        self._batch: list[bool] = []

    def expect(self, batch: Sequence[bool]) -> None:
        """How the answers of the batch ended that lm-eval will report next, in its order."""
        self._batch = list(batch)

    def add_partial(self, kind: str, request: tuple[Any, ...], _answer: object) -> None:
        """Called by lm-eval for each answered request."""
        if kind == "generate_until":
            self.stopped[prompt_key(request)] = self._batch.pop(0)


class Harness(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """HFLM that shows no progress bars and remembers which generated answers ended by themselves."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        self.cache_hook = self._endings = _Endings()

    def stopped(self, request: Instance) -> bool | None:
        """Whether the last answer to a generation request ended by itself; None if it was not asked."""
        return self._endings.stopped.get(prompt_key(request.args))

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **options: Any) -> Any:
        tokens = super()._model_generate(context, max_length, stop, **options)
        start = context.shape[1]
        self._endings.expect([self._ended(row, max_length - start, stop) for row in tokens[:, start:].tolist()])
        return tokens

    def _ended(self, answer: list[int], room: int, stop: list[str]) -> bool:
        if len(answer) < room:  # lm-eval goes on until every row of a batch has stopped
            return True
        text = self.tokenizer.decode(answer, skip_special_tokens=False)
        return any(mark and mark in text for mark in stop) or bool(self._end_tokens.intersection(answer))

    @property
    def _end_tokens(self) -> set[int]:
        ends = self.model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, list) else {ends}

    def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
        # The rolling kind passes disable_tqdm=False on, whatever it was given itself.
        return super()._loglikelihood_tokens(requests, **{**options, "disable_tqdm": True})


def prompt_key(request: tuple[Any, ...]) -> tuple[str, str]:
    """What tells a generation request (prompt, options) from others."""
    prompt, options = request
    return prompt, repr(options)


def harness(model: Any, tokenizer: Any, device: str, batch_size: int) -> Harness:
    """lm-eval's view of a transformers model in memory: weights changed in place count at the next score.

    Raises EvaluationError for a tokenizer without an end-of-text token, which lm-eval's generation needs.
    """
    if tokenizer.eos_token_id is None:
        raise EvaluationError("the tokenizer has no end-of-text token (eos_token); such a model cannot be scored")
    with quiet():
        return Harness(model.to(device), tokenizer, batch_size)


def chat_renderer(tokenizer: Any) -> Callable[..., str]:
    """How lm-eval renders a chat, from the tokenizer alone.

    Raises EvaluationError if the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise EvaluationError("chat_template is true, but the tokenizer has no chat template; set it to false")
    return partial(HFLM.apply_chat_template, SimpleNamespace(tokenizer=tokenizer, chat_template_args={}))
