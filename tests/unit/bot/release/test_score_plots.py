"""The pictures: equal bytes for equal facts, names drawn as they are, labels that keep apart."""

from __future__ import annotations

import io
import random
import warnings
from itertools import combinations

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from bot.release.plots.labels import Label, draw_labels, drawable
from bot.release.plots.scores import Mark, ParetoFacts, pareto_plot, progress_plot
from bot.search.results import BaselineKind
from fixtures.png import HOSTILE, chunks

pytestmark = pytest.mark.slow


def facts(skills: int, name: str = "demo/model") -> ParetoFacts:
    draw = random.Random(3)
    candidates = tuple(tuple(draw.random() for _ in range(skills)) for _ in range(60))
    marks = tuple(
        Mark(f"{name}-{i}", kind, tuple(draw.random() for _ in range(skills)))
        for i, kind in enumerate([*BaselineKind, BaselineKind.SOURCE, BaselineKind.RELEASE])
    )
    return ParetoFacts(tuple(f"skill_{i}" for i in range(skills)), candidates, candidates[:5], marks)


@pytest.mark.parametrize("skills", [1, 2, 3, 4])
def test_every_number_of_skills_has_a_picture_as_wide_as_a_phone_needs(skills: int) -> None:
    picture = Image.open(io.BytesIO(pareto_plot(facts(skills))))
    assert picture.width == 1120 and picture.height > 600


def test_equal_facts_give_equal_bytes_whatever_the_users_settings() -> None:
    before = pareto_plot(facts(2)), progress_plot([0.1, 0.2])
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.parse_math": True}):
        assert (pareto_plot(facts(2)), progress_plot([0.1, 0.2])) == before
        assert matplotlib.rcParams["font.size"] == 30
    for png in before:
        assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(chunks(png))


@pytest.mark.parametrize("skills", [2, 3])
def test_names_are_never_formulas_and_never_leave_the_font(skills: int) -> None:
    honest = facts(skills)
    hostile = ParetoFacts((HOSTILE,) * skills, honest.candidates, honest.front, facts(skills, HOSTILE).marks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of missing glyphs, and raises for a broken formula
        assert pareto_plot(hostile) != pareto_plot(honest)


def test_what_the_font_lacks_becomes_a_question_mark() -> None:
    assert drawable("あ-é-ж\u202e\n🐟", 20) == "?-é-ж ?"
    assert drawable("a" * 50, 10) == "a" * 9 + "…"


def test_crowded_labels_cover_neither_each_other_nor_their_marks() -> None:
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    labels = [Label(f"demo/model-{i}", 0.5 + 0.02 * i, 0.5 - 0.01 * i, bold=i == 0) for i in range(6)]
    axes.scatter([label.x for label in labels], [label.y for label in labels])
    axes.set(xlim=(0, 1), ylim=(0, 1))
    draw_labels(figure, axes, labels)
    figure.draw_without_rendering()
    # Text's extent is that of the words alone: an annotation's would take in its line to the point.
    boxes = [Text.get_window_extent(child) for child in axes.get_children() if isinstance(child, Annotation)]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    marks = [axes.transData.transform((label.x, label.y)) for label in labels]
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    frame = axes.get_window_extent()
    assert all(frame.contains(*corner) for box in boxes for corner in (box.p0, box.p1))


def test_a_search_of_one_generation_or_none_still_has_its_picture() -> None:
    assert Image.open(io.BytesIO(progress_plot([0.3]))).size == (1120, 560)
    assert Image.open(io.BytesIO(progress_plot([]))).size == (1120, 560)
    assert pareto_plot(ParetoFacts(("a", "b"), (), (), ()))
