"""Names of colours, by the nearest in CIELAB, where distances are about as large as they look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (220, 20, 30),
    "orange": (255, 140, 0),
    "yellow": (250, 220, 30),
    "green": (30, 150, 50),
    "cyan": (0, 200, 210),
    "blue": (30, 80, 220),
    "purple": (130, 40, 160),
    "pink": (250, 130, 190),
    "brown": (120, 70, 30),
}
"""In sRGB."""

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Of linear sRGB under the white D65 (IEC 61966-2-1)."""


def name_colour(colour: Sequence[float]) -> str:
    """The nearest of `COLOURS` to a colour in sRGB, 0 to 255."""
    names = list(COLOURS)
    distances = np.linalg.norm(to_lab(np.array(list(COLOURS.values()))) - to_lab(np.array([colour])), axis=1)
    return names[int(distances.argmin())]


def to_lab(colours: NDArray[np.generic]) -> Values:
    """CIELAB of colours in sRGB, [colours, 3], 0 to 255 (CIE 15:2004)."""
    scaled = colours.astype(np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    relative = linear @ _TO_XYZ.T / _TO_XYZ.sum(axis=1)
    edge = 6 / 29
    x, y, z = np.where(relative > edge**3, np.cbrt(relative), relative / (3 * edge**2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
