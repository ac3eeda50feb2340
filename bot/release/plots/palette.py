"""The colours and marks of all pictures of a card.

A page shows pictures in light and in dark mode alike, and cannot be told to swap them: the Hub's mode is a setting of
its own, not the browser's. A ground of their own, dark as a block of code is, leaves every colour its contrast in both.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.search.results import BaselineKind

GROUND, INK, GREY, GRID = "#222b36", "#e8ecf0", "#aab4be", "#3c4855"
DARK_INK = "#171c22"
"""For text on light marks."""

# Okabe and Ito's palette, which can be distinguished with any colour vision, lightened for the dark ground.
BLUE, ORANGE, GREEN, PINK = "#6cbcf0", "#ff9a4d", "#3fcfa6", "#e59bd3"


@dataclass(frozen=True)
class Style:
    """The mark of one kind of point: matplotlib's marker, colour, and area in square points."""

    marker: str
    colour: str
    area: float


# In the order of legends; earlier ones are drawn on top. Shapes differ as well as colours.
STYLES = {
    BaselineKind.RELEASE: Style("*", ORANGE, 150),
    BaselineKind.SOURCE: Style("s", GREEN, 44),
    BaselineKind.PLAIN: Style("D", PINK, 38),
    BaselineKind.BASE: Style("v", GREY, 48),
}
