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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which can be distinguished with any colour vision.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
INK, GREY, GRID = "#222222", "#4d4d4d", "#e3e7ea"

LABEL_LENGTH = 36  # characters

_DPI = 200
_WIDTH = 8.0  # inches: 1600 pixels, legible when a page shows them at 800


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

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)  # inches
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def own_settings() -> Iterator[None]:
    """Use matplotlib's defaults and our settings, whatever a matplotlibrc says; restores the caller's afterwards."""
    import matplotlib

    parts = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11})
        matplotlib.rcParams.update(dict.fromkeys(parts, INK))
        yield


def to_png(figure: Figure) -> bytes:
    """The picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # By default matplotlib writes its version, and equal pictures would differ after an upgrade.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
