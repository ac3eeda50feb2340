"""The grid of pictures that several models drew: a row for each prompt, a column for each model, as PNG bytes.

Prompts are not in the picture: the font has not every script, and the card has them as text. Letters and numbers say
which column and row of the card's table is meant.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

from bot.release.plots.labels import drawable, without_middle
from bot.release.plots.palette import GREY, GRID, GROUND, INK, STYLES
from bot.search.results import BaselineKind

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

MOST_BYTES = 2 * 2**20
"""Of the file: pages that show it are opened with telephones."""

WIDTH = 1120
"""In pixels, at most, of the whole grid: as wide as the other pictures of a card."""

WIDEST_CELL, NARROWEST_CELL = 256, 48  # pixels a side
_GAP, _NUMBERS, _FRAME = 8, 36, 3
_LETTER, _NAME = 24, 16  # heights of letters in pixels
_LINES = 2  # of a name
_LINE = 20

Header = tuple[str, BaselineKind]


def grid_plot(columns: Sequence[Header], rows: Sequence[Sequence[bytes | None]]) -> bytes:
    """PNG of the grid. columns: (name, kind) of each model. rows: PNG files, one a column; None where there is none.

    Small pictures are enlarged by a whole number, pixel by pixel; large ones are made smaller, all of them more where
    the file would be larger than `MOST_BYTES`.
    """
    side = min(WIDEST_CELL, (WIDTH - _NUMBERS) // len(columns) - _GAP)
    while True:
        content = _to_png(_draw(columns, rows, side))
        if len(content) <= MOST_BYTES or side <= NARROWEST_CELL:
            return content
        side = max(NARROWEST_CELL, side * 4 // 5)


def column_letter(column: int) -> str:
    """The letter of a column, counted from 0."""
    return ascii_uppercase[column]


def _draw(columns: Sequence[Header], rows: Sequence[Sequence[bytes | None]], side: int) -> Image:
    from PIL import Image as Images
    from PIL import ImageDraw

    head = _LETTER + (_LINES + 1) * _LINE + 2 * _GAP
    step = side + _GAP
    canvas = Images.new("RGB", (_NUMBERS + len(columns) * step, head + len(rows) * step), GROUND)
    draw = ImageDraw.Draw(canvas)
    for column, header in enumerate(columns):
        left = _NUMBERS + column * step
        _write_header(draw, column_letter(column), header, left, side)
        for row, pictures in enumerate(rows):
            _put(canvas, draw, pictures[column], (left, head + row * step), side)
        if header[1] is BaselineKind.RELEASE:
            edge = (
                left - _GAP // 2,
                head - _GAP // 2,
                left + side + _GAP // 2 - 1,
                head + len(rows) * step - _GAP // 2,
            )
            draw.rectangle(edge, outline=STYLES[BaselineKind.RELEASE].colour, width=_FRAME)
    for row in range(len(rows)):
        middle = head + row * step + side // 2
        draw.text((_NUMBERS // 2, middle), str(row + 1), INK, _font(_LETTER), anchor="mm")
    return canvas


def _write_header(draw: ImageDraw, letter: str, header: Header, left: int, width: int) -> None:
    name, kind = header
    draw.text((left, _GAP), letter, STYLES[kind].colour, _font(_LETTER))
    font, top = _font(_NAME), _GAP + _LETTER + 4
    for line in _fold(name.rpartition("/")[2], font, width):
        draw.text((left, top), line, INK, font)
        top += _LINE
    draw.text((left, top), _fold(kind.value, font, width)[0], GREY, font)


def _fold(name: str, font: FreeTypeFont, width: int) -> list[str]:
    """A name on at most two lines of this width, without its middle if they do not suffice."""
    text = drawable(name, len(name))
    for length in range(len(text), 0, -1):
        shown = without_middle(text, length)
        first = _count_fitting(shown, font, width)
        if first == len(shown):
            return [shown]
        breaks = [place + 1 for place in range(first) if shown[place] in " -_."]
        end = breaks[-1] if breaks and font.getlength(shown[breaks[-1] :]) <= width else first
        if font.getlength(shown[end:]) <= width:
            return [shown[:end].rstrip(), shown[end:]]
    return [text[:1]]


def _count_fitting(line: str, font: FreeTypeFont, width: int) -> int:
    """Number of a line's first characters that are no wider; at least one."""

    def measure(end: int) -> float:
        return font.getlength(line[:end])

    return max(1, bisect_right(range(1, len(line) + 1), float(width), key=measure))


def _put(canvas: Image, draw: ImageDraw, content: bytes | None, corner: tuple[int, int], side: int) -> None:
    left, top = corner
    draw.rectangle((left, top, left + side - 1, top + side - 1), fill=GRID)
    if content is None:
        draw.text((left + side // 2, top + side // 2), "–", GREY, _font(_LETTER), anchor="mm")
        return
    image = _fit(content, side)
    canvas.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))


def _fit(content: bytes, side: int) -> Image:
    """The picture as large as a cell: enlarged by a whole number, or made smaller."""
    from PIL import Image as Images

    image = Images.open(io.BytesIO(content)).convert("RGB")
    longer = max(image.size)
    if longer <= side:
        times = side // longer
        return image.resize((image.width * times, image.height * times), Images.Resampling.NEAREST)
    image.thumbnail((side, side), Images.Resampling.LANCZOS)
    return image


def _font(height: int) -> FreeTypeFont:
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import ImageFont

    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans")), height)


def _to_png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
