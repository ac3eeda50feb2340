"""The picture of a path through the layers of several models, as PNG bytes.

One row per model, hops from left to right; a long path continues in further strips, like music in staves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.release.card.merge_facts import PathFacts
from bot.release.plots.canvas import SMALL, new_figure, own_settings, to_png
from bot.release.plots.labels import without_middle
from bot.release.plots.palette import DARK_INK, GREY, GRID, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_MOST_STOPS = 14  # per strip: more would leave no room for the layers' numbers
_MANY_HOPS = 100  # from here on there is no room for the number of every hop
_NAME_LENGTH = 44  # characters
_ROW, _BELOW_STRIP, _COLOUR_BAR = 0.46, 0.42, 0.12  # inches
_NAME_ABOVE = 0.42  # rows
_LOW, _HIGH = "#0072b2", "#d55e00"  # colours of scales below and above 1
_MARK = 16.0  # points across
_NARROWEST_SPAN = 0.1  # of the colours around 1, so that scales that hardly differ look alike


@dataclass(frozen=True)
class _Stop:
    """A stop of the path: a part's layer or, without a scale, its embedding or head."""

    part: int
    text: str
    scale: float | None


def path_plot(facts: PathFacts) -> bytes:
    """PNG of the path from the embedding to the head: the layer's number at each hop, coloured by its scale."""
    with own_settings():
        return to_png(path_figure(facts))


def path_figure(facts: PathFacts) -> Figure:
    """The picture as a figure; only within `own_settings`."""
    strips = _strips(len(facts.hops))
    heights = [len(facts.parts) * _ROW] * len(strips) + [_COLOUR_BAR] * facts.scaled
    figure = new_figure(sum(heights) + _BELOW_STRIP * len(heights) + 0.3)
    rows = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    colours = _colours(facts)
    tick_step = 1 if len(facts.hops) < _MANY_HOPS else 5
    for axes, strip in zip(rows, strips, strict=False):
        _draw_strip(axes, facts, strip, colours)
        axes.set_xticks([x for x in strip if 0 <= x < len(facts.hops) and x % tick_step == 0])
        # Strips are equally wide, so that a hop is as wide in the last one as in the others.
        axes.set_xlim(strip[0] - 0.7, strip[0] + len(strips[0]) - 0.3)
    rows[len(strips) - 1].set_xlabel("hop (E: embedding, H: final norm and head)", fontsize=SMALL)
    if facts.scaled:
        figure.colorbar(colours, cax=rows[-1], orientation="horizontal")
        rows[-1].set_xlabel("scale before the layer", fontsize=SMALL)
        rows[-1].tick_params(labelsize=SMALL)
    return figure


def _strips(hops: int) -> list[range]:
    """The stops of each strip: as few strips as possible, and all but the last of equal length."""
    count = math.ceil((hops + 2) / _MOST_STOPS)
    length = math.ceil((hops + 2) / count)
    return [range(first, min(first + length, hops + 1)) for first in range(-1, hops + 1, length)]


def _colours(facts: PathFacts) -> ScalarMappable:
    """Colours of scales: blue below 1, white at 1, red above, symmetric around 1."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import CenteredNorm, LinearSegmentedColormap

    span = max(_NARROWEST_SPAN, *(abs(hop.scale - 1) for hop in facts.hops))
    shades = LinearSegmentedColormap.from_list("scale", [_LOW, "#ffffff", _HIGH])
    return ScalarMappable(CenteredNorm(1, span), shades)


def _draw_strip(axes: Axes, facts: PathFacts, strip: range, colours: ScalarMappable) -> None:
    stops = _stops(facts)
    # The whole line: the axes' limits show this strip's part, and where it enters and leaves.
    axes.plot(range(-1, len(stops) - 1), [stop.part for stop in stops], color=GREY, linewidth=1.3, zorder=2)
    for x in strip:
        _draw_stop(axes, x, stops[x + 1], colours)
    # A name is above its row: beside it, it would take half of a phone's width.
    names = [without_middle(part.name, _NAME_LENGTH) for part in facts.parts]
    above = [row - _NAME_ABOVE for row in range(len(names))]
    axes.set_yticks(above, names, parse_math=False, ha="left", va="center", color=GREY)
    axes.set_ylim(len(names) - 0.6, -0.7)  # the first part on top
    axes.tick_params(length=0, pad=0, labelsize=SMALL)
    for row in range(len(names)):
        axes.axhline(row, color=GRID, linewidth=0.8, zorder=0)
    axes.spines[:].set_visible(False)


def _stops(facts: PathFacts) -> list[_Stop]:
    hops = [_Stop(hop.part, str(hop.layer), hop.scale) for hop in facts.hops]
    return [_Stop(facts.embedding, "E", None), *hops, _Stop(facts.head, "H", None)]


def _draw_stop(axes: Axes, x: int, stop: _Stop, colours: ScalarMappable) -> None:
    import numpy as np
    from matplotlib.colors import to_rgba

    if stop.scale is None:
        fill, marker, size = to_rgba(INK), "s", _MARK - 1.5
    else:
        fill, marker, size = colours.to_rgba(np.array([stop.scale]))[0], "o", _MARK
    axes.plot(x, stop.part, marker, markersize=size, color=fill, markeredgecolor=GREY, markeredgewidth=0.9, zorder=3)
    axes.text(
        x,
        stop.part,
        stop.text,
        ha="center",
        va="center_baseline",
        fontsize=SMALL if len(stop.text) < 3 else 7.5,
        color="white" if _is_dark(fill) else DARK_INK,
        zorder=4,
    )


def _is_dark(colour: Sequence[float]) -> bool:
    red, green, blue, *_ = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
