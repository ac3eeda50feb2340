"""Asks a causal language model one question, with the same calls as the code on a release's card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evaluation.eval_set import Question

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_TOKENS = 64
"""Limit of an answer where the task has none, since it only compares likelihoods."""

LONGEST_SHOWN = 256
"""Limit of any answer, in tokens: a card has no room for more."""


def most_tokens(generation: Mapping[str, object] | None) -> int:
    """The limit of an answer's tokens, from a task's generation settings (None: it generates nothing)."""
    limits = [generation.get(name) for name in ("max_gen_toks", "max_new_tokens")] if generation else [MAX_TOKENS]
    own = next((limit for limit in limits if isinstance(limit, int) and limit > 0), LONGEST_SHOWN)
    return min(own, LONGEST_SHOWN)


def generate_answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: Question) -> str:
    """The text that the model generates greedily after the question's prompt, without special tokens."""
    if question.chat_template:
        messages = [{"role": "user", "content": question.prompt}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    else:
        inputs = tokenizer(question.prompt, return_tensors="pt", return_token_type_ids=False)
    inputs = inputs.to(model.device)
    output = model.generate(**inputs, max_new_tokens=question.max_tokens, do_sample=False)
    return str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
