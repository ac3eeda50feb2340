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
_LONGEST_QUOTE = 300  # characters
_STILL = frozenset({"MPO"})
"""Formats whose further frames are no animation: cameras put a preview beside the picture."""


class PictureError(Exception):
    """A picture that cannot be asked about; the message says what it is and the remedy, not where it is."""


def explain_picture(error: Exception) -> str:
    """Why a picture cannot be had, with the remedy: an error of this module, of Pillow, or of a task's own code."""
    words = " ".join(str(error).split())
    if not isinstance(error, PictureError):  # its own words are short
        words = _shown(words)
    match error:
        case PictureError():
            return words
        case UnidentifiedImageError():
            return "its picture is nothing that Pillow can read; replace it"
        case Image.DecompressionBombError():
            return f"its picture is too large ({words}); make it smaller"
        case OSError() | SyntaxError():  # how Pillow says that a file is broken
            return f"its picture cannot be read ({words}); replace it"
    return f"doc_to_image gives no picture: {type(error).__name__}: {words}"


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


def open_picture(value: object, folder: Path | None = None, roots: Sequence[Path] = ()) -> Image.Image:
    """A picture as documents hold it, not yet decoded: a Pillow image, a file's bytes, its path, or a row of `datasets`
    with either.

    folder: where relative paths are looked up. roots: the other folders whose files may be pictures, because documents
    may be a stranger's, and releases show their pictures. Raises PictureError.
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, Mapping) and (value.get("bytes") or value.get("path")):
        value = value.get("bytes") or value["path"]
    if isinstance(value, str | Path):
        value = _find(str(value), folder, roots).read_bytes()  # an open file for each picture would be too many
    if not isinstance(value, bytes):
        raise PictureError(f"doc_to_image gives a {type(value).__name__}; give a picture, a file's path or its bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `to_rgb` refuses these
            return Image.open(io.BytesIO(value))
    except (Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise PictureError(explain_picture(error)) from error


def read_picture(value: object, folder: Path | None, roots: Sequence[Path] = ()) -> Image.Image:
    """A picture as documents hold it (see `open_picture`), as RGB. Raises PictureError."""
    return to_rgb(open_picture(value, folder, roots))


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as every processor gets it: pixels without what its file says besides, such as a colour profile or a
    comment, which would be published with it. Raises PictureError for one that is no single picture of 8 bits."""
    try:
        if reason := _find_refusal(image):
            raise PictureError(f"its picture has {reason}")
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            opaque = Image.new("RGBA", upright.size, (255, 255, 255, 255))
            opaque.alpha_composite(upright.convert("RGBA"))
            upright = opaque
        plain = upright.convert("RGB")
        plain.info.clear()
        return plain
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(explain_picture(OSError(error))) from error


def _find_refusal(image: Image.Image) -> str | None:
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        return f"{width} × {height} pixels; use one of at least {SMALLEST_SIDE} a side"
    if width * height > LARGEST_AREA:
        return f"{width} × {height} pixels; use one of at most {LARGEST_AREA:,}"
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _STILL:
        return f"{frames} frames; save the one that is meant by itself"
    if image.mode not in _EIGHT_BITS:
        return f"pixels of Pillow's mode {image.mode}; save it with 8 bits a channel"
    return None


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


def _shown(text: str) -> str:
    """A document's text as a message quotes it: a document may hold anything where a path is expected."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _find(path: str, folder: Path | None, roots: Sequence[Path]) -> Path:
    """The file that a document's path names, links followed. Raises PictureError for one outside the folders."""
    if "://" in path:
        raise PictureError(f"its picture is the address {_shown(path)}; download it and give the file's path")
    allowed = [root.resolve() for root in (folder, *roots) if root is not None]
    try:
        named = Path(path) if folder is None else folder.absolute() / path
        found = named.resolve() if named.is_absolute() and named.is_file() else None
    except (OSError, ValueError):  # no file can have such a name
        found = None
    if found is None:
        raise PictureError(
            f"its picture {_shown(path)} is not there; relative paths are looked up beside the task's file"
        )
    if not any(map(found.is_relative_to, allowed)):
        raise PictureError(
            f"its picture {_shown(path)} is outside the task folder and its data set; copy it beside the task"
        )
    return found
