"""What all pictures of a card have in common: size, palette, axes, and PNG bytes that depend on nothing else.

Equal values give equal bytes: a figure of its own on the Agg canvas, matplotlib's defaults whatever the user's
configuration, no time stamp. Names are drawn as they are, never read as formulas.
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

# Okabe and Ito's palette: told apart with any colour vision.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
INK, GREY, GRID = "#222222", "#4d4d4d", "#e3e7ea"

LABEL_LENGTH = 36  # characters

_DPI = 200
_WIDTH = 8.0  # inches: 1600 pixels, drawn to be read when a page shows them at 800


def dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Name the axes, and give them a grid behind all that is drawn."""
    axes.set_xlabel(drawable(x_label, LABEL_LENGTH), parse_math=False)
    axes.set_ylabel(drawable(y_label, LABEL_LENGTH), parse_math=False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(height: float) -> Figure:
    """An empty picture, so many inches high; within `own_settings` alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)  # inches
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def own_settings() -> Iterator[None]:
    """matplotlib's own settings and ours, whatever a matplotlibrc says; the caller's come back afterwards."""
    import matplotlib

    parts = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11})
        matplotlib.rcParams.update(dict.fromkeys(parts, INK))
        yield


def png(figure: Figure) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    # Without Software, matplotlib would write its version, and equal pictures would differ after an upgrade.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
