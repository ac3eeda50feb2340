"""Finds continuations of which a tokenizer leaves no token, so that no model could be scored on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

    from evaluation.harness.eval_set import TaskRequests


@dataclass(frozen=True)
class LostContinuation:
    """A request (by its place) whose continuation has no tokens of its own."""

    place: int
    context: str
    continuation: str


def refuse_lost_continuation(asked: TaskRequests, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise EvaluationError for a continuation without tokens, which would fail in the middle of the first model."""
    lost = find_lost_continuation(asked.requests, tokenizer)
    if lost is None:
        return
    owners = [item.item for item in asked.items for _ in item.requests]
    delimiter = asked.loaded.task.config.target_delimiter
    raise EvaluationError(
        f"task {asked.loaded.name}: item {owners[lost.place]}: {lost.continuation!r} after {lost.context[-40:]!r} has "
        f"no tokens of its own, because the tokenizer joins the two or drops the second; set target_delimiter "
        f"(now {delimiter!r}), or correct the target"
    )


def find_lost_continuation(requests: Iterable[Instance], tokenizer: PreTrainedTokenizerBase) -> LostContinuation | None:
    """The first log-likelihood request whose continuation has no tokens by lm-eval's way to split them off.

    lm-eval tokenizes the context with the continuation, and takes the tokens beyond the context's own number. None are
    left if the tokenizer joins the last word with the continuation.
    """
    pairs = [
        (place, *request.args[:2]) for place, request in enumerate(requests) if request.request_type == "loglikelihood"
    ]
    alone = _count_tokens({continuation for _, context, continuation in pairs if not context}, tokenizer, special=False)
    # lm-eval moves the spaces at the end of a context to the continuation.
    joined = {context.rstrip() for _, context, _ in pairs if context}
    joined |= {context + continuation for _, context, continuation in pairs if context}
    together = _count_tokens(joined, tokenizer, special=True)
    for place, context, continuation in pairs:
        left = together[context + continuation] - together[context.rstrip()] if context else alone[continuation]
        if left < 1:
            return LostContinuation(place, context, continuation)
    return None


def _count_tokens(texts: Collection[str], tokenizer: PreTrainedTokenizerBase, *, special: bool) -> dict[str, int]:
    """Number of tokens of each text; `special`: with those that the tokenizer adds to every text."""
    ordered = sorted(texts)
    if not ordered:
        return {}
    found = tokenizer(ordered, add_special_tokens=special)["input_ids"]
    # In place of an empty context, lm-eval takes a token that the continuation may begin with.
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return {
        text: len(tokens) - (not special and tokens[:1] == [first]) for text, tokens in zip(ordered, found, strict=True)
    }
