"""Text with pictures: a vision-language model's processor is transformers' `ProcessorMixin`."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.eval_set import PLACE, Question
from evaluation.harness.continuations import refuse_lost_continuation
from evaluation.harness.modalities.picture_engine_lm import PictureEngineLM
from evaluation.harness.modalities.prompts import (
    PicturePrompts,
    content_parts,
    make_picture_chat_renderer,
    pictures_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

    from evaluation.harness.eval_set import ItemRequests, TaskRequests


class Pictures:
    """The `Modality` of vision-language models."""

    pictures = True

    def processor_rules(self, processor: ProcessorMixin, *, chat: bool) -> str:
        """Digest of the processor, with its tokenizer and the backend of its pictures."""
        return PicturePrompts(processor).rules(chat=chat)

    def make_chat_renderer(self, processor: ProcessorMixin) -> Callable[..., str]:
        """As `Modality`."""
        return make_picture_chat_renderer(PicturePrompts(processor))

    def check_requests(self, asked: TaskRequests, processor: ProcessorMixin) -> None:
        """Refuse prompts whose places are more or fewer than their pictures, sizes that the processor cannot take, and
        continuations without tokens."""
        prompts = PicturePrompts(processor)
        sizes: set[object] = set()
        for item in asked.items:
            try:
                _check_item(item, prompts, sizes)
            except EvaluationError as error:
                raise EvaluationError(f"task {asked.loaded.name}: item {item.item}: {error}") from error
        refuse_lost_continuation(asked, prompts.tokenizer)

    def wrap(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        device: str,
        batch_size: int,  # noqa: ARG002
    ) -> PictureEngineLM:
        """The model on the engine, or asked one request at a time if that cannot answer for it."""
        return PictureEngineLM(model, processor, device)

    def end_of_text(self, processor: ProcessorMixin) -> str:
        """As `Modality`."""
        return str(processor.tokenizer.eos_token or "")

    def generate_answer(self, model: PreTrainedModel, processor: ProcessorMixin, question: Question) -> str:
        """As `Modality`."""
        pictures = [Image.open(io.BytesIO(data)) for data in question.pictures]
        if question.chat_template:
            inputs = processor.apply_chat_template(
                [{"role": "user", "content": content_parts(question.prompt, pictures)}],
                chat_template=PicturePrompts(processor).chat_template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        else:
            text = PicturePrompts(processor).place(question.prompt)
            inputs = processor(text=text, images=pictures, return_tensors="pt")
        inputs = inputs.to(model.device, model.dtype)
        output = model.generate(**inputs, max_new_tokens=question.max_tokens, do_sample=False)
        return str(processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def _check_item(item: ItemRequests, prompts: PicturePrompts, sizes: set[object]) -> None:
    """Raise EvaluationError; sizes: those of earlier prompts' pictures, which the processor takes."""
    for request in item.requests:
        places, given = prompts.place(request.args[0]).count(prompts.mark), len(pictures_of(request))
        if places != given:
            raise EvaluationError(
                f"its whole prompt has {places} places for pictures, and there are {given}; write {PLACE} once for "
                "each picture and nowhere else, and use a chat template that keeps the places"
            )
    first = item.requests[0]
    pictures = list(pictures_of(first))
    found = tuple(picture.size for picture in pictures)
    if found in sizes:
        return
    sizes.add(found)
    try:
        prompts.encode(first.args[0], pictures)
    except Exception as error:  # the processor's own rules, such as a longest side
        shown = ", ".join(f"{width} × {height}" for width, height in found)
        raise EvaluationError(
            f"{type(prompts.processor).__name__} does not take its pictures of {shown} pixels: "
            f"{' '.join(str(error).split())}; resize them, or leave the document out"
        ) from error


PICTURES = Pictures()
