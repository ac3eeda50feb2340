"""Degenerate pictures: flat, saturated, or not finite. Those that are equal to others are found by `alike`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.answers.degenerate import FINE, FLAT, NOT_FINITE, SATURATED

Pixels = NDArray[np.uint8]
"""[height, width, 3]."""

LEAST_DEVIATION = 2.0
"""Standard deviation of every channel, in levels of 255, below which a picture is flat."""

MOST_AT_ENDS, MOST_PURE = 0.9, 0.1
"""Share of values at 0 or 255, and of pixels with such values that are no grey, above which a picture is saturated. Ink
on paper has the first, but not the second."""

THUMBNAIL = 8
"""Pixels a side in which pictures are compared: few, as they are kept for every item of every candidate."""


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
