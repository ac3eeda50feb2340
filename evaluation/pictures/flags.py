"""Degenerate pictures: flat, saturated, equal to others, or not finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.answers.degenerate import EQUAL, FINE, FLAT, NOT_FINITE, SATURATED

Pixels = NDArray[np.uint8]
"""[height, width, 3]."""

LEAST_DEVIATION = 2.0
"""Standard deviation of every channel, in levels of 255, below which a picture is flat."""

MOST_AT_ENDS, MOST_PURE = 0.9, 0.1
"""Share of values at 0 or 255, and of pixels with such values that are no grey, above which a picture is saturated. Ink
on paper has the first, but not the second."""

THUMBNAIL = 16
"""Pixels a side in which pictures are compared."""

LEAST_DIFFERENCE = 0.5
"""Mean difference of thumbnails, in levels of 255, below which pictures are equal."""


def flag_picture(pixels: Pixels, *, finite: bool) -> str:
    """Flag one picture as "not finite", "flat", "saturated" or "ok". finite: whether it was before it became bytes."""
    if not finite:
        return NOT_FINITE
    if (pixels.reshape(-1, 3).std(axis=0) < LEAST_DEVIATION).all():
        return FLAT
    at_ends = (pixels == 0) | (pixels == 255)
    pure = at_ends.all(axis=2) & (pixels.min(axis=2) != pixels.max(axis=2))
    return SATURATED if at_ends.mean() >= MOST_AT_ENDS and pure.mean() >= MOST_PURE else FINE


def make_thumbnail(pixels: Pixels) -> Pixels:
    """A small picture by which pictures of one size are compared."""
    height, width = (min(side, THUMBNAIL) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def flag_equals(flags: Sequence[str], thumbnails: Sequence[Pixels], subjects: Sequence[str]) -> list[str]:
    """The flags of pictures of one size, with "equal" for each that is like the picture of another subject.

    subjects: ids of what the pictures are about; prompts in two languages that say the same may well be drawn alike.
    """
    if len(flags) < 2:
        return list(flags)
    table = np.stack(thumbnails).reshape(len(flags), -1).astype(np.int16)
    about = np.array(subjects)
    found = list(flags)
    for place, row in enumerate(table):
        near = np.abs(table - row).mean(axis=1) < LEAST_DIFFERENCE
        if found[place] == FINE and (near & (about != about[place])).any():
            found[place] = EQUAL
    return found
