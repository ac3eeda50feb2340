"""The style of all pictures of a card: size, palette, axes, and PNG bytes that depend on the values alone.

Equal values give equal bytes: every picture is a figure of its own on the Agg canvas, with matplotlib's defaults
whatever the user's configuration, and without a time stamp. Names are drawn literally, never parsed as formulas.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.release.plots.labels import drawable
from bot.release.plots.palette import GREY, GRID, GROUND, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_LENGTH = 36  # characters

SIZE, SMALL = 10.0, 9.5  # points: 12.2 and 11.5 pixels where a phone of 390 pixels shows the picture 350 wide
_DPI = 280
_WIDTH = 4.0  # inches: 1120 pixels


def style_axes(axes: Axes, x_label: str, y_label: str) -> None:
    """Name the axes, and draw a grid behind everything else."""
    axes.set_xlabel(drawable(x_label, LABEL_LENGTH), parse_math=False)
    axes.set_ylabel(drawable(y_label, LABEL_LENGTH), parse_math=False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(height: float) -> Figure:
    """An empty picture of this height in inches; only within `own_settings`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)  # inches
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout=layout, facecolor=GROUND)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def own_settings() -> Iterator[None]:
    """Use matplotlib's defaults and our settings, whatever a matplotlibrc says; restores the caller's afterwards."""
    import matplotlib

    parts = ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")
    lines = ("xtick.color", "ytick.color", "axes.edgecolor")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.family": "DejaVu Sans", "font.size": SIZE, "axes.titlesize": SIZE})
        matplotlib.rcParams["axes.facecolor"] = GROUND
        small = ("xtick.labelsize", "ytick.labelsize", "axes.labelsize", "legend.fontsize")
        matplotlib.rcParams.update(dict.fromkeys(small, SMALL))
        matplotlib.rcParams.update(dict.fromkeys(parts, INK) | dict.fromkeys(lines, GREY))
        yield


def to_png(figure: Figure) -> bytes:
    """The picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # By default matplotlib writes its version, and equal pictures would differ after an upgrade.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
