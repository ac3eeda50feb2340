"""Text alone: a language model's processor is its tokenizer, and the engine answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from evaluation.answers.ask import generate_answer
from evaluation.eval_set import Question
from evaluation.harness.continuations import refuse_lost_continuation
from evaluation.harness.engine_lm import EngineLM
from evaluation.harness.lm import make_chat_renderer
from evaluation.harness.rules import tokenizer_rules

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from evaluation.harness.eval_set import TaskRequests


class Text:
    """The `Modality` of language models."""

    pictures = False

    def processor_rules(self, processor: PreTrainedTokenizerBase, *, chat: bool) -> str:
        """Digest of the tokenizer."""
        return tokenizer_rules(processor, chat=chat)

    def make_chat_renderer(self, processor: PreTrainedTokenizerBase) -> Callable[..., str]:
        """As `Modality`."""
        return make_chat_renderer(processor)

    def check_requests(self, asked: TaskRequests, processor: PreTrainedTokenizerBase) -> None:
        """Refuse continuations of which the tokenizer leaves no token."""
        refuse_lost_continuation(asked, processor)

    def wrap(
        self, model: PreTrainedModel, processor: PreTrainedTokenizerBase, device: str, batch_size: int
    ) -> EngineLM:
        """The model on the engine."""
        return EngineLM(model, processor, device, batch_size)

    def end_of_text(self, processor: PreTrainedTokenizerBase) -> str:
        """As `Modality`."""
        return str(processor.eos_token or "")

    def generate_answer(self, model: PreTrainedModel, processor: PreTrainedTokenizerBase, question: Question) -> str:
        """As `Modality`."""
        return generate_answer(model, processor, question)


TEXT = Text()
