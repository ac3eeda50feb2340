"""The picture of a search: places of points, and its ticks."""

from __future__ import annotations

import pytest

from bot.search.results import FrontChoice, ModelledRecipe
from bot.service.page.front_plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot_front

SKILLS = ("math", "cross")


def test_better_scores_lie_further_right_and_further_up() -> None:
    plot = plot_front(
        SKILLS,
        [(0.0, 0.0), (1.0, 0.5)],
        [("r", (0.5, 1.0))],
        x_skill="math",
        y_skill="cross",
        chosen="r",
    )
    worst, right = plot.candidates
    (top,) = plot.front
    assert worst.x < top.x < right.x
    assert worst.y > right.y > top.y
    # The middle of an axis from 0 to 1 with equal room on both sides.
    assert top.x == pytest.approx((LEFT + WIDTH - RIGHT) / 2)
    assert right.y == pytest.approx((TOP + HEIGHT - BOTTOM) / 2)
    assert top.chosen and top.number == 1
    assert top.title == "front member 1: math 0.500, cross 1.000"


def test_recipes_that_a_model_put_in_or_left_out_say_so() -> None:
    put_in, left_out = ModelledRecipe("r", (0.5, 1.0), (0.6, 1.0)), ModelledRecipe("s", (1.0, 0.5), (0.4, 0.4))
    plot = plot_front(
        SKILLS,
        [(1.0, 0.5)],
        [("r", put_in.scores), ("t", (0.0, 0.0))],
        x_skill="math",
        y_skill="cross",
        chosen=None,
        choice=FrontChoice("d", ("r", "t"), (put_in,), (left_out,)),
    )
    assert [(one.put_in, "put in by the model" in one.title) for one in plot.front] == [(True, True), (False, False)]
    (left,), (candidate,) = plot.left_out, plot.candidates
    assert (left.x, left.y) == (candidate.x, candidate.y) and left.title.startswith("left out by the model: math 1.0")


def test_ticks_stand_at_round_scores_within_the_axis() -> None:
    plot = plot_front(SKILLS, [(0.0, 0.2), (1.0, 0.2)], [], x_skill="math", y_skill="cross", chosen=None)
    assert [tick.label for tick in plot.x_ticks] == ["0", "0.25", "0.5", "0.75", "1"]
    assert LEFT < plot.x_ticks[0].place < plot.x_ticks[-1].place < WIDTH - RIGHT
    assert plot.x_ticks[2].place == pytest.approx((LEFT + WIDTH - RIGHT) / 2)
    # All equal: there is an axis nevertheless.
    assert [tick.label for tick in plot.y_ticks] == ["0.16", "0.18", "0.2", "0.22", "0.24"]


def test_one_skill_can_be_both_axes() -> None:
    plot = plot_front(("math",), [], [("r", (0.4,))], x_skill="math", y_skill="math", chosen=None)
    assert (plot.x_skill, plot.y_skill) == ("math", "math")


def test_a_skill_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        plot_front(SKILLS, [], [], x_skill="tales", y_skill="math", chosen=None)
