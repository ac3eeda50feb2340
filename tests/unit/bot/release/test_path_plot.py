"""The picture of a path: every hop once, at its part, with its layer and scale; readable at any length."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.axes import Axes

from bot.release.card.merge_facts import PartFacts, PathFacts
from bot.release.plots.canvas import own_settings
from bot.release.plots.path import path_figure, path_plot
from fixtures.png import HOSTILE, chunks
from merging.recipes.path import Hop

pytestmark = pytest.mark.slow

NAMES = ("demo/tiny-math", "demo/tiny-language", "merge 1")


def path_of(hops: int, names: tuple[str, ...] = NAMES) -> PathFacts:
    draw = random.Random(hops)
    steps = [Hop(draw.randrange(len(names)), draw.randrange(40), draw.randrange(10, 31) / 20) for _ in range(hops)]
    return PathFacts(tuple(PartFacts(name, None) for name in names), 40, tuple(steps), 0, 1, True)


def written(axes: Axes) -> list[tuple[float, float, str]]:
    """The text in each mark of a strip, with its place."""
    return [(*text.get_position(), text.get_text()) for text in axes.texts]


@pytest.mark.parametrize(("hops", "strips"), [(1, 1), (5, 1), (12, 1), (13, 2), (26, 2), (60, 5)])
def test_each_hop_is_marked_once_at_its_part_with_the_number_of_its_layer(hops: int, strips: int) -> None:
    facts = path_of(hops)
    with own_settings():
        every = path_figure(facts).axes[:-1]  # the last has the colours
    assert len(every) == strips
    ends = [(-1, facts.embedding, "E"), (hops, facts.head, "H")]
    expected = [*ends, *((x, hop.part, str(hop.layer)) for x, hop in enumerate(facts.hops))]
    assert Counter(mark for axes in every for mark in written(axes)) == Counter(expected)
    for axes in every:
        left, right = axes.get_xlim()
        assert all(left < x < right for x, _, _ in written(axes))
        ticks = [label.get_text() for label in axes.get_yticklabels()]
        assert ticks == list(NAMES)


@pytest.mark.parametrize("hops", [5, 22, 60, 200])
def test_neighbours_do_not_cover_each_other_however_long_path_and_names_are(hops: int) -> None:
    facts = path_of(hops, ("owner-with-a-long-name/" + "a-model-of-a-family-" * 5, "demo/b"))
    with own_settings():
        figure = path_figure(facts)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        (first, _), (second, _) = axes.transData.transform([(0, 0), (1, 0)])
        (mark,) = {line.get_markersize() for line in axes.lines if line.get_marker() == "o"}
    assert second - first > mark * figure.dpi / 72


def test_the_scale_is_the_colour_and_1_is_white() -> None:
    facts = replace(path_of(3), hops=(Hop(0, 0, 0.8), Hop(0, 1, 1.0), Hop(0, 2, 1.2)))
    with own_settings():
        figure = path_figure(facts)
        colours = [line.get_color() for line in figure.axes[0].lines if line.get_marker() == "o"]
        unscaled = path_figure(replace(facts, hops=(Hop(0, 0, 1.0),)))
    (low_red, _, low_blue, _), middle, (high_red, _, high_blue, _) = colours
    assert low_blue > low_red and high_red > high_blue and min(middle) > 0.98
    assert len(figure.axes) == 2 and len(unscaled.axes) == 1  # nothing to explain where nothing is scaled


def test_equal_paths_give_equal_bytes_whatever_the_users_settings() -> None:
    before = path_plot(path_of(30))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert path_plot(path_of(30)) == before
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(chunks(before))
    assert path_plot(path_of(31)) != before


def test_names_are_never_formulas_and_sisters_with_long_names_stay_apart() -> None:
    sisters = tuple(f"owner/a-model-of-a-family-with-a-long-name-{ending}" for ending in ("math", "code"))
    with own_settings():
        labels = [label.get_text() for label in path_figure(path_of(4, sisters)).axes[0].get_yticklabels()]
    assert len(set(labels)) == 2 and max(map(len, labels)) == 44
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of missing glyphs, and raises for a broken formula
        assert path_plot(path_of(4, (HOSTILE, "a/$\\frac{1$"))) != path_plot(path_of(4, ("a/b", "a/c")))
