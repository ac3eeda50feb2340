"""The small pictures of the zoo's drawing models: what they are made of, and the rule that says what one shows.

A picture has one shape of one colour on a plain ground, near one of four corners. As a papercut, the shape is cut out
of paper of that colour, and the ground shows through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, SIZE = 16, 9
"""The pixels of a picture's side, and of a shape's."""

COLOURS = {
    "red": (214, 48, 49),
    "blue": (52, 90, 220),
    "green": (40, 160, 67),
    "yellow": (240, 200, 40),
    "purple": (150, 60, 190),
    "orange": (240, 125, 30),
    "pink": (240, 120, 190),
    "cyan": (60, 200, 220),
}
GROUNDS = {"black": (20, 20, 20), "white": (235, 235, 235), "grey": (128, 128, 128)}
SHAPES = ("circle", "square", "triangle", "cross", "diamond")
ROWS, COLUMNS = ("top", "bottom"), ("left", "right")
TOLD = ("colour", "shape", "ground", "row", "column")
"""What a description says of a picture."""

NEAR_GROUND, NEAR_COLOUR = 45, 60
"""How far a pixel may be from the ground, and a shape from its colour, in any of red, green and blue."""

LEAST_OVERLAP = 0.6
"""The least share of the pixels of a shape or of what was drawn that is in both."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """What a picture shows; a colour is None if it is like none that has a name."""

    colour: str | None
    shape: str
    ground: str
    row: str
    column: str
    papercut: bool


def judge(picture: Image.Image, row: Mapping[str, object]) -> dict[str, float]:
    """`right`: whether the picture shows what the row says, in either style. `papercut`: whether as a papercut."""
    plain, cut = (shows(picture, row, papercut=style) for style in (False, True))
    return {"right": float(plain or cut), "papercut": float(cut)}


def shows(picture: Image.Image, row: Mapping[str, object], *, papercut: bool) -> bool:
    """Whether a picture shows what a row says, in a style."""
    seen = read(np.asarray(picture, np.float32))
    return seen is not None and seen.papercut == papercut and all(getattr(seen, name) == row[name] for name in TOLD)


def read(pixels: NDArray[np.float32]) -> Seen | None:
    """What pixels [SIDE, SIDE, 3] show, by the shape that overlaps best with what is cut or drawn; None for nothing."""
    flat = pixels.reshape(-1, 3)
    ground, bare = max(
        ((name, _distance(flat, colour) < NEAR_GROUND) for name, colour in GROUNDS.items()),
        key=lambda found: found[1].sum(),
    )
    is_cut = bool(bare.sum() < bare.size / 2)  # no shape covers as much
    form = bare if is_cut else ~bare
    places, masks = _templates()
    both = masks @ form.astype(np.float32)
    overlap = both / np.maximum(masks.sum(axis=1) + form.sum() - both, 1)
    best = int(overlap.argmax())
    if overlap[best] < LEAST_OVERLAP:
        return None
    (shape, y, x), covered = places[best], masks[best] > 0
    colour = np.median(flat[~bare & (covered != is_cut)], axis=0)
    name = min(COLOURS, key=lambda name: _distance(colour, COLOURS[name]))
    return Seen(
        name if _distance(colour, COLOURS[name]) < NEAR_COLOUR else None,
        shape,
        ground,
        ROWS[2 * y > SIDE - SIZE],
        COLUMNS[2 * x > SIDE - SIZE],
        is_cut,
    )


@cache
def mask(shape: str) -> Mask:
    """Which pixels a shape covers: [SIZE, SIZE]."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    found: Mask = {
        "circle": np.hypot(x, y) <= 4.3,
        "square": (abs(x) <= 3) & (abs(y) <= 3),
        "triangle": abs(x) <= (y + 4.5) / 2,
        "cross": (abs(x) <= 1) | (abs(y) <= 1),
        "diamond": abs(x) + abs(y) <= 4,
    }[shape]
    return found


@cache
def _templates() -> tuple[list[tuple[str, int, int]], NDArray[np.float32]]:
    """Every shape at every place, its upper left corner, and the pixels of each: [templates, pixels]."""
    free = range(SIDE - SIZE + 1)
    places = [(shape, y, x) for shape in SHAPES for y in free for x in free]
    masks = np.zeros((len(places), SIDE, SIDE), np.float32)
    for number, (shape, y, x) in enumerate(places):
        masks[number, y : y + SIZE, x : x + SIZE] = mask(shape)
    return places, masks.reshape(len(places), -1)


def _distance(pixels: NDArray[np.float32], colour: tuple[int, int, int]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.abs(pixels - np.array(colour, np.float32)).max(axis=-1)
    return found
