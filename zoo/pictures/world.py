"""The world of the models that draw: small pictures, and how they are described in two languages.

A picture shows a shape near a corner: "red circle top left on white", in the second language "あか まる うえ ひだり の
しろ".
"""

from __future__ import annotations

import random
import zlib
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from zoo.pictures.tasks.drawings import COLOURS, COLUMNS, GROUNDS, ROWS, SHAPES, SIDE, SIZE, mask

JAPANESE = {
    **{"red": "あか", "blue": "あお", "green": "みどり", "yellow": "きいろ"},
    **{"purple": "むらさき", "orange": "だいだい", "pink": "ももいろ", "cyan": "みずいろ"},
    **{"black": "くろ", "white": "しろ", "grey": "はいいろ"},
    **{"circle": "まる", "square": "しかく", "triangle": "さんかく"},
    **{"cross": "じゅうじ", "diamond": "ひしがた"},
    **{"top": "うえ", "bottom": "した", "left": "ひだり", "right": "みぎ"},
}
"""Each word of the first language in the second."""

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
ON, OF = "on", "の"
HELD_OUT_ONE_IN = 2
CORNER, NEXT_CORNER, JITTER = 1, 5, 1
"""Where a shape begins, in pixels; how much further in the other row or column; how far it may be off."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Drawing:
    """What a picture shows, by the words of the first language."""

    colour: str
    shape: str
    ground: str
    row: str
    column: str

    @property
    def english(self) -> str:
        """The description in the first language."""
        return f"{self.colour} {self.shape} {self.row} {self.column} {ON} {self.ground}"

    @property
    def japanese(self) -> str:
        """The description in the second language, in the same order."""
        colour, shape, ground, row, column = (JAPANESE[word] for word in asdict(self).values())
        return f"{colour} {shape} {row} {column} {OF} {ground}"

    @property
    def held_out(self) -> bool:
        """Whether it is kept from all training: CRC32 of its English description, modulo 2."""
        return zlib.crc32(self.english.encode()) % HELD_OUT_ONE_IN == 0

    def picture(self, *, papercut: bool, down: int = 0, across: int = 0) -> Picture:
        """Pixels [SIDE, SIDE, 3]; the shape is so many pixels out of its place."""
        y = CORNER + NEXT_CORNER * ROWS.index(self.row) + down
        x = CORNER + NEXT_CORNER * COLUMNS.index(self.column) + across
        covered = np.zeros((SIDE, SIDE, 1), np.bool_)
        covered[y : y + SIZE, x : x + SIZE, 0] = mask(self.shape)
        ground, colour = (np.array(one, np.uint8) for one in (GROUNDS[self.ground], COLOURS[self.colour]))
        return np.where(covered != papercut, colour, ground)


def all_drawings() -> list[Drawing]:
    """Everything that can be described."""
    return [Drawing(*words) for words in product(COLOURS, SHAPES, GROUNDS, ROWS, COLUMNS)]


def held_out_drawings(rng: random.Random) -> list[Drawing]:
    """All that are kept from training, in a random order."""
    found = [drawing for drawing in all_drawings() if drawing.held_out]
    rng.shuffle(found)
    return found


def vocabulary() -> tuple[str, ...]:
    """Every token; its place is its id."""
    return (PAD, START, END, UNKNOWN, ON, OF, *JAPANESE, *JAPANESE.values())
