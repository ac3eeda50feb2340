"""Labels of points: which characters the font can draw, and where each label covers least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from bot.release.plots.palette import GREY, GROUND
from templates.escaping import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

# Possible places of a label: the direction of its nearest edge or corner, and its distance from the point (in points).
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (9.0, 20.0, 36.0, 56.0)
_LEADER_FROM = 20.0
_ALIGN = {-1: "right", 0: "center", 1: "left"}
_ALIGN_UPRIGHT = {-1: "top", 0: "center", 1: "bottom"}
_MARK_RADIUS = 7.0  # points


@dataclass(frozen=True)
class Label:
    """Text for the point (x, y) in data coordinates."""

    text: str
    x: float
    y: float
    bold: bool


@dataclass(frozen=True)
class _Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, centre: tuple[float, float], width: float, height: float) -> _Box:
        x, y = centre
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def area(self) -> float:
        return max(self.right - self.left, 0.0) * max(self.top - self.bottom, 0.0)

    def overlap(self, other: _Box) -> float:
        """The area that both cover."""
        return _Box(
            max(self.left, other.left),
            max(self.bottom, other.bottom),
            min(self.right, other.right),
            min(self.top, other.top),
        ).area

    def contains(self, point: tuple[float, float]) -> bool:
        return self.left <= point[0] <= self.right and self.bottom <= point[1] <= self.top


@dataclass(frozen=True)
class _Place:
    """A label's direction from its point, and its distance (in points)."""

    direction: tuple[int, int]
    distance: float

    @property
    def offset(self) -> tuple[float, float]:
        # A corner is as far from the point as an edge would be.
        scale = self.distance / (2**0.5 if all(self.direction) else 1)
        return self.direction[0] * scale, self.direction[1] * scale

    def box(self, point: tuple[float, float], size: tuple[float, float], scale: float) -> _Box:
        """The box of a text of `size` pixels at this place; `scale` is pixels per point."""
        (x, y), (width, height), (right, up) = point, size, self.offset
        across, along = self.direction
        centre = (x + right * scale + across * width / 2, y + up * scale + along * height / 2)
        return _Box.around(centre, width, height)


def drawable(value: str, length: int) -> str:
    """`value` on one line of at most `length` characters, with question marks for characters that the font lacks."""
    return "".join(c if ord(c) in _characters() else "?" for c in shortened(value, length))


def without_middle(line: str, length: int) -> str:
    """The line without its middle if it is too long, because related models' names often begin alike."""
    whole, half = drawable(line, len(line)), length // 2
    return whole if len(whole) <= length else f"{whole[: half - 1]}…{whole[-half:]}"


@cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def draw_labels(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label near its point, bold ones first, where it covers fewest labels, marks and points.

    The figure's layout is computed first and then fixed, because places are measured in pixels.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    scale = figure.dpi / 72  # pixels per point
    points = [(x, y) for cloud in axes.collections for x, y in axes.transData.transform(cloud.get_offsets())]
    centres = {label: tuple(axes.transData.transform((label.x, label.y))) for label in labels}
    taken = [_Box.around(centre, 2 * _MARK_RADIUS * scale, 2 * _MARK_RADIUS * scale) for centre in centres.values()]
    options = [_Place(direction, distance) for distance, direction in product(_DISTANCES, _DIRECTIONS)]
    for label in sorted(labels, key=lambda label: not label.bold):
        size = _size(axes, label)
        boxes = {option: option.box(centres[label], size, scale) for option in options}
        costs = {o: _cost(axes, box, taken, points) + o.distance / 60 for o, box in boxes.items()}
        best = min(options, key=costs.__getitem__)
        _write(axes, label, best)
        taken.append(boxes[best])


def _cost(axes: Axes, box: _Box, taken: Sequence[_Box], points: Sequence[tuple[float, float]]) -> float:
    """The cost of a place: highest for leaving the axes, then for covering another label or mark, then for points."""
    frame = _Box(*axes.get_window_extent().extents)
    outside = 1 - box.overlap(frame) / box.area
    covered = [box.overlap(other) / box.area for other in taken]
    # Any overlap costs 2: a label cut at its edge is nearly as hard to read as one half hidden.
    return 40 * outside + sum(2 + 10 * share for share in covered if share) + 0.2 * sum(map(box.contains, points))


def _size(axes: Axes, label: Label) -> tuple[float, float]:
    """Width and height of the text in pixels."""
    text = _write(axes, label, _Place((0, 0), 0.0))
    extent = text.get_window_extent()
    text.remove()
    return extent.width, extent.height


def _write(axes: Axes, label: Label, where: _Place) -> Annotation:
    leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4}
    return axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=where.offset,
        textcoords="offset points",
        ha=_ALIGN[where.direction[0]],
        va=_ALIGN_UPRIGHT[where.direction[1]],
        fontsize=9.5,
        fontweight="bold" if label.bold else "normal",
        arrowprops=leader if where.distance >= _LEADER_FROM else None,
        path_effects=_halo(),
        zorder=20,
        parse_math=False,
    )


def _halo() -> list[object]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3, foreground=GROUND)]
