"""A pipeline's encoded prompts, kept while its tokenizers and the weights of its text encoders stay the same.

Every pipeline of diffusers encodes its prompts by its method `encode_prompt`. Here that is asked for one prompt after
the other, so that a prompt is encoded to the same bits in every batch.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from evaluation.engine.pictures.tower import as_bytes
from evaluation.harness.rules import tokenizer_rules

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

MOST_BYTES = 2**31
"""Encoded prompts that are kept: 7000 of SDXL, 500 of FLUX. Further ones are encoded each time."""

KEPT_ENCODERS = 4
"""Text encoders whose prompts are kept: a search may choose one of few. One that is merged anew for every candidate
leaves no use behind, and the oldest go first."""

_ENCODER = "text_encoder"


class EncodedPrompts:
    """What pipelines of one family made of prompts."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._bytes = 0
        self._joins = True
        self.encoded = 0

    def put(self, pipeline: DiffusionPipeline) -> None:
        """Encode with another pipeline from now on, or with other weights of the same one."""
        self._pipeline = pipeline
        self._current: dict[str, Any] | None = None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have the pipeline's calls take prompts from here while the block runs."""
        original = getattr(self._pipeline, "encode_prompt", None)
        if original is None:
            yield
            return

        def encode_prompt(*given: Any, **named: Any) -> Any:
            return self._encode(original, given, named)

        self._pipeline.encode_prompt = encode_prompt
        try:
            yield
        finally:
            del self._pipeline.encode_prompt

    def _encode(self, original: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        arguments = inspect.signature(original).bind(*given, **named).arguments
        if not self._joins or any(isinstance(value, torch.Tensor) for value in arguments.values()):
            return original(*given, **named)
        made = [self._encode_one(original, row) for row in _rows(arguments)]
        try:
            return _join(made)
        except (RuntimeError, ValueError):  # prompts of different lengths, which the pipeline pads together
            self._joins = False
            return original(*given, **named)

    def _encode_one(self, original: Any, row: Mapping[str, Any]) -> Any:
        kept = self._of_encoders()
        key = repr(sorted(row.items()))
        if key in kept:
            return _moved(kept[key], self._pipeline.device)
        self.encoded += 1
        made = original(**row)
        size = _size(made)
        if self._bytes + size <= MOST_BYTES:
            kept[key] = _moved(made, "cpu")  # a GPU's memory is for what is drawn
            self._bytes += size
        return made

    def _of_encoders(self) -> dict[str, Any]:
        if self._current is None:
            self._current = self._kept.setdefault(_digest_encoders(self._pipeline), {})
            while len(self._kept) > KEPT_ENCODERS:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= sum(map(_size, dropped.values()))
        return self._current


def _rows(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arguments of a call for many prompts, for each prompt by itself."""
    prompts = arguments.get("prompt")
    count = len(prompts) if isinstance(prompts, list) else 1

    def of_row(name: str, value: Any, place: int) -> Any:
        listed = name.startswith(("prompt", "negative_prompt")) and isinstance(value, list) and len(value) == count
        return [value[place]] if listed else value

    return [{name: of_row(name, value, place) for name, value in arguments.items()} for place in range(count)]


def _join(made: Sequence[Any]) -> Any:
    """What the prompts of a batch were made of one by one, as the pipeline makes it of all at once.

    Raises RuntimeError or ValueError for what cannot be put together.
    """
    first = made[0]
    if len(made) == 1:
        return first
    if isinstance(first, torch.Tensor):
        if first.shape[:1] == (1,):
            return torch.cat(list(made))
        if not all(torch.equal(first, other) for other in made):
            raise ValueError("the encoded prompts have no dimension of prompts")
        return first  # positions, such as FLUX's, which all prompts share
    if isinstance(first, tuple):
        return tuple(_join([one[place] for one in made]) for place in range(len(first)))
    if isinstance(first, list):
        return [value for one in made for value in one]
    if first is None:
        return None
    raise ValueError(f"a pipeline encodes prompts to a {type(first).__name__}")


def _moved(made: Any, device: torch.device | str) -> Any:
    """The same on a device."""
    if isinstance(made, list | tuple):
        return type(made)(_moved(one, device) for one in made)
    return made.to(device) if isinstance(made, torch.Tensor) else made


def _size(made: Any) -> int:
    if isinstance(made, list | tuple):
        return sum(map(_size, made))
    return made.nbytes if isinstance(made, torch.Tensor) else 0


def _digest_encoders(pipeline: DiffusionPipeline) -> str:
    """sha256 of the weights of all text encoders, and of the tokenizers' rules.

    Of an encoder with a `weights_key`, which is another one whenever its weights are, that is taken: reading weights
    takes seconds where they are large.
    """
    made = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        if isinstance(part, PreTrainedTokenizerBase):
            made.update(f"{name} {_digest_tokenizer(part)}".encode())
        if name.startswith(_ENCODER) and isinstance(part, torch.nn.Module):
            made.update(f"{name} {_weights_key(part)}".encode())
    return made.hexdigest()


def _weights_key(encoder: torch.nn.Module) -> str:
    if key := getattr(encoder, "weights_key", None):
        return str(key)
    made = hashlib.sha256()
    for path, weight in encoder.state_dict().items():
        made.update(path.encode())
        made.update(as_bytes(weight))
    return made.hexdigest()


@lru_cache(maxsize=32)  # by the object: it takes as long as encoding a few prompts
def _digest_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer_rules(tokenizer, chat=True)
