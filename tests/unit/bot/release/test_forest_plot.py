"""The picture of the report scores: every model once, intervals as measured, axes where the values are."""

from __future__ import annotations

import warnings
from dataclasses import replace

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from bot.release.card.facts import BaselineScores, ScoreTable
from bot.release.plots.canvas import own_settings
from bot.release.plots.forest import find_limits, report_figure, report_plot
from bot.release.plots.palette import GROUND, INK, STYLES
from bot.release.plots.path import path_figure
from bot.search.results import BaselineKind
from evaluation.statistics.values import Interval, PairedDifference
from fixtures.golden import path_facts, weight_merge_facts
from fixtures.png import HOSTILE, chunks

TABLE = weight_merge_facts().table
SHOWN = 350  # pixels of a picture's width on a phone of 390
SMALLEST = 11.0  # pixels


def named(name: str) -> ScoreTable:
    return replace(TABLE, baselines=tuple(replace(other, name=name) for other in TABLE.baselines))


def texts(figure: Figure) -> list[Text]:
    figure.draw_without_rendering()
    return [text for text in figure.findobj(Text) if text.get_text().strip()]


def test_each_skill_has_a_strip_with_every_model_once_and_the_release_on_top() -> None:
    with own_settings():
        strips = report_figure(TABLE).axes
    assert [axes.get_title(loc="left") for axes in strips] == list(TABLE.skills)
    for axes in strips:
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names[:3] == ["this model", "minnow-math", "minnow-kotoba"]
        assert len(names) == 1 + len(TABLE.others)


def test_intervals_are_drawn_as_measured_and_what_is_far_below_has_its_score() -> None:
    with own_settings():
        strips = report_figure(TABLE).axes
    for column, axes in enumerate(strips):
        scores = [TABLE.scores[column], *(other.scores[column] for other in TABLE.others)]
        drawn = {line.get_ydata()[0]: tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2}
        written = {text.xy[1]: text.get_text() for text in axes.texts}
        assert drawn.keys() | written.keys() == set(range(len(scores)))
        assert all(drawn[y] == (scores[y].low, scores[y].high) for y in drawn)
        assert all(f"{scores[y].mean:.2f}" in written[y] for y in written)
    assert any(axes.texts for axes in strips)


def test_an_axis_covers_the_release_and_all_that_is_stronger_and_no_more_than_is_near() -> None:
    own, near, far, stronger = (Interval(m, m - 0.02, m + 0.02, 400) for m in (0.95, 0.9, 0.05, 0.99))
    low, high = find_limits([own, near, far])
    assert 0.8 < low < 0.88 and 0.97 < high < 1
    weak = Interval(0.1, 0.08, 0.12, 400)
    assert find_limits([weak, stronger])[1] > stronger.high and find_limits([weak, stronger])[0] < weak.low
    same = Interval(0.5, 0.5, 0.5, 1)
    assert find_limits([same])[0] < 0.5 < find_limits([same])[1]


def test_every_text_of_every_picture_is_legible_on_a_phone() -> None:
    """At least 11 pixels high where the picture is shown 350 pixels wide."""
    path = path_facts().recipe.path
    assert path is not None
    with own_settings():
        for figure in (report_figure(TABLE), path_figure(path)):
            scale = SHOWN / figure.get_figwidth() / 72  # pixels per point
            inside_marks = {str(number) for number in range(100)} | {"E", "H"}
            sizes = {text.get_fontsize() for text in texts(figure) if text.get_text() not in inside_marks}
            assert min(sizes) * scale >= SMALLEST
            assert figure.get_figwidth() * figure.dpi >= 3 * SHOWN  # sharp at a phone's three pixels a point


def test_colours_have_contrast_to_the_ground_of_their_own() -> None:
    assert contrast(INK, GROUND) > 10
    assert all(contrast(style.colour, GROUND) > 4.5 for style in STYLES.values())
    with own_settings():
        assert matplotlib.colors.to_hex(report_figure(TABLE).get_facecolor()) == GROUND


def contrast(one: str, two: str) -> float:
    """Contrast ratio as WCAG defines it."""
    lights = sorted((luminance(one), luminance(two)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_equal_scores_give_equal_bytes_whatever_the_users_settings() -> None:
    before = report_plot(TABLE)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert report_plot(TABLE) == before
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(chunks(before))


def test_names_are_never_formulas_and_one_skill_has_its_picture() -> None:
    lead = PairedDifference(0.1, 0.0, 0.2, 10, 0.1, 0.2)
    other = BaselineScores("a/$\\frac{1$", BaselineKind.SOURCE, (Interval(0.5, 0.4, 0.6, 10),), (lead,))
    single = ScoreTable(
        ("only",), (Interval(0.6, 0.5, 0.7, 10),), (other,), (replace(other, kind=BaselineKind.RELEASE),)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of missing glyphs, and raises for a broken formula
        assert report_plot(single) and report_plot(named(HOSTILE))
