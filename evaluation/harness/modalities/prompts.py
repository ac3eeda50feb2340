"""Prompts with pictures, as a transformers processor takes them: its mark in each picture's place, then tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import PIL
from jinja2 import TemplateError
from lm_eval.api.instance import Instance

from evaluation.errors import EvaluationError
from evaluation.eval_set import PLACE
from evaluation.fingerprint import digest
from evaluation.harness.rules import tokenizer_rules
from evaluation.picture import ShownPictures, picture_digest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import BatchFeature, ProcessorMixin


class PicturePrompts:
    """Encodes prompts with one processor."""

    def __init__(self, processor: ProcessorMixin) -> None:
        """Raises EvaluationError for a processor without pictures."""
        if getattr(processor, "image_processor", None) is None or not getattr(processor, "image_token", None):
            raise EvaluationError(
                f"{type(processor).__name__} takes no pictures (it has no image_processor); use a vision-language model"
            )
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.mark: str = str(processor.image_token)
        self.picture_ids = frozenset(token for token in processor.image_token_ids if token is not None)
        self._count = lru_cache(maxsize=2**16)(self._count_tokens)

    def place(self, text: str) -> str:
        """A task's text with the processor's own mark in each picture's place."""
        return text.replace(PLACE, self.mark)

    def encode(self, text: str, pictures: Sequence[Image]) -> BatchFeature:
        """The tensors of one prompt, tokens as [1, length].

        Special tokens are added unless the text begins with one, as in `ProcessorMixin.apply_chat_template`.
        """
        return self.processor(
            text=[self.place(text)],
            images=[list(pictures)] if pictures else None,
            return_tensors="pt",
            **self._special(text),
        )

    def token_inputs(self, inputs: Mapping[str, Tensor]) -> set[str]:
        """The names of inputs with a value for each token.

        Not by shape alone: for a prompt of three tokens, Qwen's grid of a picture is as large.
        """
        of_pictures = self.processor.image_processor.model_input_names
        return {
            key for key, value in inputs.items() if value.shape == inputs["input_ids"].shape and key not in of_pictures
        }

    def continuation(self, context: str, continuation: str) -> tuple[str, list[int]]:
        """The context without the spaces at its end, and the tokens that the continuation adds to it.

        As in lm-eval, the spaces go to the continuation, and its tokens are those of both beyond the number of the
        context's own. A picture's place counts as one token in both.
        """
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        tokens = self._tokens(bare + continuation)
        return bare, tokens[self._count(bare) :]

    def first_tokens(self, continuation: str) -> tuple[list[int], list[int]]:
        """Context and continuation of a text without context: as in lm-eval, it follows the first token of a text."""
        start = self.tokenizer.bos_token_id
        first = self.tokenizer.eos_token_id if start is None else start
        tokens = list(self.tokenizer.encode(continuation, add_special_tokens=False))
        return (tokens[:1], tokens[1:]) if tokens[:1] == [first] else ([first], tokens)

    def render_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """lm-eval's messages through the processor's chat template, with pictures as content parts."""
        chat = [{**message, "content": content_parts(message["content"])} for message in messages]
        try:
            rendered = self.processor.apply_chat_template(
                chat,
                chat_template=self.chat_template,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                tokenize=False,
            )
        except (TemplateError, TypeError, ValueError) as error:
            words = " ".join(str(error).split())
            raise EvaluationError(
                f"chat_template is true, but the processor's template cannot be filled ({words}); set it to false"
            ) from error
        return str(rendered)

    @property
    def chat_template(self) -> str | None:
        """The processor's chat template, else its tokenizer's."""
        found: str | None = self.processor.chat_template or self.tokenizer.chat_template
        return found

    def rules(self, *, chat: bool) -> str:
        """Digest of the processor: its settings, its backend, Pillow, the tokenizer, and the chat template if used."""
        settings = {key: value for key, value in self.processor.to_dict().items() if key != "chat_template"}
        return digest(
            {
                "processor": settings,
                "backend": type(self.processor.image_processor).__name__,
                "pillow": PIL.__version__,
                "tokenizer": tokenizer_rules(self.tokenizer, chat=chat),
                "chat_template": self.chat_template if chat else None,
            }
        )

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(self.place(text), **self._special(text))["input_ids"])

    def _count_tokens(self, text: str) -> int:
        return len(self._tokens(text))

    def _special(self, text: str) -> dict[str, bool]:
        bos = self.tokenizer.bos_token
        return {"add_special_tokens": False} if bos is not None and text.startswith(bos) else {}


def content_parts(text: str, pictures: Sequence[Image] = ()) -> list[dict[str, object]]:
    """A message's text as content parts, with a picture (given, or only its place) at each `<image>`."""
    waiting = iter(pictures)
    parts: list[dict[str, object]] = []
    for number, words in enumerate(text.split(PLACE)):
        if number:
            picture = next(waiting, None)
            parts.append({"type": "image"} if picture is None else {"type": "image", "image": picture})
        if words:
            parts.append({"type": "text", "text": words})
    return parts


def make_picture_chat_renderer(prompts: PicturePrompts) -> Callable[..., str]:
    """lm-eval's function that renders a chat. Raises EvaluationError if there is no chat template."""
    if not prompts.chat_template:
        raise EvaluationError("chat_template is true, but the processor has no chat template; set it to false")
    return prompts.render_chat


def pictures_of(request: Instance) -> Sequence[Image]:
    """The pictures of a request with its prompt; none where lm-eval asks for a text's own likelihood."""
    arguments = request.args
    if len(arguments) < 3 or not arguments[0]:
        return ()
    found: Sequence[Image] = arguments[2]["visual"]
    return found


def digests_of(request: Instance) -> tuple[str, ...]:
    """The digests of a request's pictures."""
    pictures = pictures_of(request)
    return pictures.digests if isinstance(pictures, ShownPictures) else tuple(map(picture_digest, pictures))


def request_facts(request: Instance) -> tuple[object, ...]:
    """The arguments of a request for digests and keys, with pictures by theirs."""
    arguments: tuple[object, ...] = request.args
    return (*arguments[:2], digests_of(request)) if len(arguments) > 2 else arguments
