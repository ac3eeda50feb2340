"""The interface of a modality: all that differs between suites of lm-eval's tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from evaluation.eval_set import Question
from evaluation.harness.lm import CandidateLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evaluation.harness.eval_set import TaskRequests


class Modality(Protocol):
    """What requests are made of, and how a processor turns them into a model's input."""

    @property
    def pictures(self) -> bool:
        """Whether tasks must have pictures (lm-eval's `doc_to_image`); otherwise they must have none."""

    def processor_rules(self, processor: object, *, chat: bool) -> str:
        """Digest of how a processor turns requests into tensors, and of its chat template if that is used."""

    def make_chat_renderer(self, processor: object) -> Callable[..., str]:
        """lm-eval's function that renders a chat. Raises EvaluationError if there is no chat template."""

    def check_requests(self, asked: TaskRequests, processor: object) -> None:
        """Raise EvaluationError for a request that would fail in the middle of the first model."""

    def wrap(self, model: PreTrainedModel, processor: object, device: str, batch_size: int) -> CandidateLM:
        """The model as lm-eval asks it."""

    def end_of_text(self, processor: object) -> str:
        """The token that ends a text, which tasks may expect at the end of an answer."""

    def generate_answer(self, model: PreTrainedModel, processor: object, question: Question) -> str:
        """The text that the model generates greedily after the question's prompt, as the code on a card does it."""
