"""Texts with pictures as the engine's tokens, and a processor that prepares each picture once."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from PIL import Image
from transformers import BatchFeature

from evaluation.engine.pictures.tokens import PictureTokens

if TYPE_CHECKING:
    from transformers import ProcessorMixin

Prepare = Callable[[str, Sequence[Image.Image]], BatchFeature]
"""Makes a model's inputs of one text and its pictures: tensors, tokens as [1, length]."""

PLACE = "<image>"
"""The mark of a picture's place in a text, as lm-eval writes it."""

PROBE_SIZE = (128, 32)
"""In pixels. So flat a picture has few tiles in families that cut pictures by their shape."""

HELD_BYTES = 2**26
"""Pictures that are held, and as much of what processors made of them: enough for the questions about one picture,
which mostly follow each other."""

Value = TypeVar("Value")


class PictureEncoder:
    """Encodes texts with pictures, so that every picture has tokens of its own.

    image_token: the vocabulary's id of the tokens in whose places a model's decoder is given pictures.
    """

    def __init__(self, prepare: Prepare, image_token: int) -> None:
        self.image_token = image_token
        self._prepare = prepare
        self.forget()

    def forget(self) -> None:
        """Forget all pictures: their ids are given to others."""
        self.tokens = PictureTokens()
        self._places: dict[str, tuple[Sequence[Image.Image], int]] = {}
        self._held = _Held[Image.Image](lambda image: 3 * image.width * image.height)

    def encode(self, text: str, pictures: Sequence[Image.Image], digests: Sequence[str]) -> tuple[int, ...] | None:
        """The engine's tokens of a text, with each picture's private ids in its places.

        pictures: read only if they are needed. digests: of each of them. None if the pictures have more or fewer
        tokens together than alone: then they are not the same to the model. Raises what the processor raises if it
        does not take these pictures with this text.
        """
        for place, digest in enumerate(digests):
            self._places.setdefault(digest, (pictures, place))
        plain: list[int] = self._prepare(text, [self._picture(one) for one in digests])["input_ids"][0].tolist()
        own = [one for digest in digests for one in self._ids(digest)]
        if digests and plain.count(self.image_token) != len(own):
            return None
        following = iter(own)
        return tuple(next(following, token) if token == self.image_token else token for token in plain)

    def inputs_of(self, digest: str) -> BatchFeature:
        """A model's inputs for one picture alone, which was in an encoded text."""
        return self._prepare(PLACE, [self._picture(digest)])

    def probe(self) -> BatchFeature:
        """A model's inputs for a text with a picture, the same for every model."""
        return self._prepare(f"{PLACE} .", [Image.linear_gradient("L").resize(PROBE_SIZE).convert("RGB")])

    def _picture(self, digest: str) -> Image.Image:
        pictures, place = self._places[digest]
        return self._held.get(digest, lambda: pictures[place])

    def _ids(self, digest: str) -> range:
        if digest not in self.tokens:
            alone = self.inputs_of(digest)["input_ids"]
            self.tokens.add(digest, int((alone == self.image_token).sum()))
        return self.tokens.ids(digest)


def prepare_once(processor: ProcessorMixin) -> ProcessorMixin:
    """The same processor, except that it remembers what it lately made of a picture (of the same Python object)."""
    made = copy.copy(processor)
    made.image_processor = _PreparedOnce(processor.image_processor)
    return made


class _PreparedOnce:
    """An image processor that holds what it lately made of pictures; all else is the real one's."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor
        self._held = _Held[tuple[Any, dict[str, Any]]](lambda entry: _bytes_of(entry[1]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image_processor, name)

    def __call__(self, images: Any, **options: Any) -> BatchFeature:
        """What the real one makes of pictures. They are held with it, so that no others get their Python ids."""
        key = (_ids_of(images), repr(sorted(options.items())))
        _, made = self._held.get(key, lambda: (images, dict(self._image_processor(images, **options))))
        return BatchFeature(dict(made))  # processors take values out


class _Held(Generic[Value]):
    """The last values that take no more than `HELD_BYTES` together, and always the newest.

    size: the bytes of a value.
    """

    def __init__(self, size: Callable[[Value], int]) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._taken = 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not held."""
        if key not in self._values:
            self._values[key] = make()
            self._taken += self._size(self._values[key])
        self._values.move_to_end(key)
        while len(self._values) > 1 and self._taken > HELD_BYTES:
            self._taken -= self._size(self._values.popitem(last=False)[1])
        return self._values[key]


def _ids_of(images: Any) -> object:
    return tuple(map(_ids_of, images)) if isinstance(images, list | tuple) else id(images)


def _bytes_of(made: Any) -> int:
    if isinstance(made, Mapping):
        made = list(made.values())
    if isinstance(made, list | tuple):
        return sum(map(_bytes_of, made))
    return int(getattr(made, "nbytes", 0))
