"""Pictures of documents: read, checked, and made alike, so that every processor gets the same pixels.

Image processors of transformers differ in what they do to anything but plain RGB: some drop an alpha channel (hidden
colours appear), some put it on white, some fail on grey or CMYK. Here every picture is made RGB before a processor
sees it, as a page would show it: turned as its camera says, alpha on white, CMYK by Pillow's formula.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

from PIL import Image, ImageOps, UnidentifiedImageError

SMALLEST_SIDE = 5
"""In pixels: processors take up to 4 rows or columns for colour channels, and so small a picture shows nothing."""

LARGEST_AREA = 89_478_485
"""In pixels, Pillow's own limit: a small file may hold a picture that fills the memory."""

_EIGHT_BITS = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"})
_STILL = frozenset({"MPO"})
"""Formats whose further frames are no animation: cameras put a preview beside the picture."""


class PictureError(Exception):
    """A picture that cannot be asked about; the message says what it is and the remedy, not where it is."""


class ShownPictures(Sequence[Image.Image]):
    """The pictures of one prompt, in the order of their places; those of a whole set would fill the memory.

    digests: of each picture. read: gives all of them anew each time.
    """

    def __init__(self, digests: tuple[str, ...], read: Callable[[], Sequence[Image.Image]]) -> None:
        self.digests = digests
        self._read = read

    def __len__(self) -> int:
        return len(self.digests)

    @overload
    def __getitem__(self, place: int) -> Image.Image: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Image.Image]: ...

    def __getitem__(self, place: int | slice) -> Image.Image | Sequence[Image.Image]:
        return self._read()[place]

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self._read())


def read_picture(value: object, folder: Path | None) -> Image.Image:
    """A picture as documents hold it, as RGB: a Pillow image, a file's bytes, its path, or a row of `datasets` with
    either.

    folder: where relative paths are looked up; then in the working directory. Raises PictureError.
    """
    if isinstance(value, Image.Image):
        return to_rgb(value)
    if isinstance(value, Mapping) and (value.get("bytes") or value.get("path")):
        value = value.get("bytes") or value["path"]
    if isinstance(value, bytes):
        return to_rgb(_open(io.BytesIO(value), "its bytes"))
    if isinstance(value, str | Path):
        return to_rgb(_open(_find(str(value), folder), str(value)))
    raise PictureError(f"got a {type(value).__name__}, not a picture; give an image, a file's path or its bytes")


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as every processor gets it. Raises PictureError for one without a meaning as a single RGB picture."""
    _check_size(image)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _STILL:
        raise PictureError(f"it has {frames} frames; save the one that is meant as a picture of its own")
    if image.mode not in _EIGHT_BITS:
        raise PictureError(f"its pixels are of Pillow's mode {image.mode}; save it with 8 bits a channel")
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            opaque = Image.new("RGBA", upright.size, (255, 255, 255, 255))
            opaque.alpha_composite(upright.convert("RGBA"))
            upright = opaque
        return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"it cannot be decoded ({_words(error)}); replace the file") from error


def picture_digest(image: Image.Image) -> str:
    """sha256 of a picture's decoded pixels: mode, size and bytes; a palette and what it makes transparent count."""
    extra = [image.getpalette(), str(image.info.get("transparency"))] if image.mode == "P" else []
    head = f"{image.mode} {image.size} {extra} "
    return hashlib.sha256(head.encode() + image.tobytes()).hexdigest()


def encode_png(image: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _open(file: io.BytesIO | Path, named: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check_size` refuses these
            return Image.open(file)
    except UnidentifiedImageError as error:
        raise PictureError(f"{named}: it is no picture that Pillow can read; replace it") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{named}: {_words(error)}; make it smaller") from error
    except OSError as error:
        raise PictureError(f"{named}: it cannot be read ({_words(error)}); replace it") from error


def _find(path: str, folder: Path | None) -> Path:
    if "://" in path:
        raise PictureError(f"got the address {path}: pictures are read from this machine alone; download it")
    beside = folder / path if folder is not None else Path(path)
    found = beside if beside.is_file() else Path(path)
    if not found.is_file():
        raise PictureError(f"no file {path}; relative paths are looked up beside the task's file")
    return found


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(f"it has {width} × {height} pixels; use one of at least {SMALLEST_SIDE} a side")
    if width * height > LARGEST_AREA:
        raise PictureError(f"it has {width} × {height} pixels, more than {LARGEST_AREA:,}; make it smaller")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
