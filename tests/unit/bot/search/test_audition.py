"""Which sources an audition chooses, on scores whose outcome can be counted by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bot.search.audition import Contender, choose_sources
from evaluation.statistics.values import Stratum

ITEMS = 100
ALIKE = 0
"""Offset of models that solve the same items as far as they solve equally many."""


def contender(name: str, math: int, language: int, offset: int = ALIKE) -> Contender:
    """A model that solves so many of 100 items of each skill, from the item with this number on."""
    items = tuple(f"{index:03}" for index in range(ITEMS))

    def stratum(skill: str, solved: int) -> Stratum:
        values = tuple(float((index - offset) % ITEMS < solved) for index in range(ITEMS))
        return Stratum(1.0, tuple(f"{skill}{item}" for item in items), values)

    return Contender(name, {"math": (stratum("m", math),), "language": (stratum("l", language),)})


BASE = contender("reef/base", 30, 30)
MATH, LANGUAGE = contender("reef/math", 60, 10), contender("reef/language", 10, 60)
HARMFUL = contender("reef/harmful", 2, 1)
ALMOST = contender("reef/almost", 31, 30)


def chosen(
    contenders: Sequence[Contender], places: int, kept: Sequence[Contender] = (BASE,), **more: object
) -> list[str]:
    placed = choose_sources(contenders, kept, places, **more)  # type: ignore[arg-type]
    assert [one.name for one in placed] == [one.name for one in contenders]
    return [one.name.removeprefix("reef/") for one in placed if one.chosen]


def reasons(contenders: Sequence[Contender], places: int, kept: Sequence[Contender] = (BASE,)) -> dict[str, str]:
    return {one.name.removeprefix("reef/"): one.reason for one in choose_sources(contenders, kept, places)}


def test_those_are_chosen_that_add_most_whatever_their_rank() -> None:
    """Specialists that are the worst at something, and not the model that is a little better than the base at both."""
    both = contender("reef/both", 40, 40)
    assert chosen([HARMFUL, both, MATH, LANGUAGE], 2) == ["math", "language"]
    assert chosen([HARMFUL, both, MATH, LANGUAGE], 3) == ["both", "math", "language"]


def test_the_first_is_the_one_that_adds_the_largest_area() -> None:
    """The reference is at (0 - 60, 0 - wide's 42 or 38), the base at (30, 30), `math` at (60, 10)."""
    corner = contender("reef/corner", 0, 0)
    # math adds 30 * (10 + 42) = 1560, and wide 102 * 84 - 90 * 72 = 2088.
    assert chosen([corner, MATH, contender("reef/wide", 42, 42)], 1, least=1) == ["wide"]
    # math adds 30 * (10 + 38) = 1440, and wide 98 * 76 - 90 * 68 = 1328.
    assert chosen([corner, MATH, contender("reef/wide", 38, 38)], 1, least=1) == ["math"]


def test_places_stay_empty_where_nobody_adds_anything_for_certain() -> None:
    """One item of a hundred more than the base is within the noise, twelve are not."""
    assert chosen([ALMOST, MATH, HARMFUL, LANGUAGE], 4) == ["math", "language"]
    assert chosen([contender("reef/more", 42, 30), MATH, LANGUAGE], 4) == ["more", "math", "language"]


def test_the_same_difference_is_noise_between_models_that_solve_other_items() -> None:
    """42 items against 30: alone solved by one of the two are 12 and 0 items, or 42 and 30."""
    alike, other = contender("reef/more", 42, 30), contender("reef/more", 42, 30, offset=50)
    assert chosen([alike, MATH, LANGUAGE], 3) == ["more", "math", "language"]
    assert chosen([other, MATH, LANGUAGE], 3) == ["math", "language"]


def test_of_equals_the_better_rank_is_chosen_and_the_other_adds_nothing_to_it() -> None:
    twin = contender("reef/twin", 60, 10)
    assert chosen([twin, MATH, LANGUAGE], 3) == ["twin", "language"]
    assert reasons([twin, MATH, LANGUAGE], 3)["math"] == (
        "adds nothing to reef/twin (math 0.60 against 0.60, language 0.10 against 0.10 on 200 items)"
    )


def test_each_of_the_others_is_told_beside_whom_it_adds_nothing() -> None:
    found = reasons([ALMOST, MATH, HARMFUL, LANGUAGE, contender("reef/less", 55, 9)], 4)
    assert found["harmful"] == (
        "adds nothing to reef/base (math 0.02 against 0.30, language 0.01 against 0.30 on 200 items)"
    )
    assert found["almost"] == (
        "adds nothing to reef/base (math 0.31 against 0.30, language 0.30 against 0.30 on 200 items; where it is "
        "better, that may be chance)"
    )
    assert found["less"] == (
        "adds nothing to reef/math (math 0.55 against 0.60, language 0.09 against 0.10 on 200 items)"
    )
    assert found["math"] == "adds most in the audition (math 0.60, language 0.10 on 200 items)"


def test_one_that_adds_something_and_finds_no_place_is_told_so() -> None:
    found = reasons([contender("reef/both", 36, 36), MATH, LANGUAGE], 2)
    assert (
        found["both"]
        == "adds less than those chosen, and max_sources leaves no place (math 0.36, language 0.36 on 200 items)"
    )


def test_pinned_sources_count_as_those_that_others_have_to_add_to() -> None:
    pinned = contender("reef/pinned", 70, 20)
    assert chosen([MATH, LANGUAGE, HARMFUL], 2, [BASE, pinned], least=1) == ["language"]


@pytest.mark.parametrize(("least", "expected"), [(2, ["math", "almost"]), (1, ["math"])])
def test_a_merge_needs_two_so_the_one_that_adds_most_by_its_bare_scores_fills_up(
    least: int, expected: list[str]
) -> None:
    field = [HARMFUL, MATH, ALMOST]
    assert sorted(chosen(field, 4, least=least)) == sorted(expected)
    if least == 2:
        assert reasons(field, 4)["almost"] == (
            "adds nothing for certain, but a merge needs 2 sources (math 0.31, language 0.30 on 200 items)"
        )


def test_where_none_adds_anything_at_all_those_fill_up_that_are_the_least_harmful() -> None:
    worse = [contender(f"reef/{name}", *scores) for name, *scores in (("a", 5, 6), ("b", 25, 26), ("c", 20, 20))]
    assert chosen(worse, 3) == ["b", "c"]
    twins = [contender(f"reef/{name}", 20, 20) for name in "abc"]
    assert chosen(twins, 3) == ["a", "b"]


def test_where_the_audition_tells_no_models_apart_the_choice_is_by_rank_for_all_places() -> None:
    """Nobody answers anything right, say."""
    silent = [contender(f"reef/{name}", 0, 0) for name in "abcd"]
    found = choose_sources(silent, [contender("reef/base", 0, 0)], 3)
    assert [one.chosen for one in found] == [True, True, True, False]
    assert found[0].reason.startswith("chosen by rank, because the audition tells no models apart (math 0.00, ")
    assert found[3].reason.startswith("adds nothing to reef/")


def test_without_a_base_the_first_has_nobody_to_add_to() -> None:
    assert chosen([HARMFUL, MATH, LANGUAGE], 2, ()) == ["math", "language"]


def test_one_whose_licence_excludes_a_chosen_one_gives_way_and_takes_the_place_of_one_that_was_not_chosen() -> None:
    def exclude(names: Sequence[str], name: str) -> str | None:
        """`math` goes with neither of these two."""
        shut = {"reef/harmful", "reef/rival"}
        return (
            f"excludes {name}"
            if (name in shut and "reef/math" in names) or (name == "reef/math" and shut & set(names))
            else None
        )

    assert chosen([HARMFUL, MATH, LANGUAGE], 3, find_conflict=exclude) == ["math", "language"]
    rival = contender("reef/rival", 90, 20)
    found = choose_sources([MATH, rival, LANGUAGE], [BASE], 3, find_conflict=exclude)
    assert [one.name for one in found if one.chosen] == ["reef/rival", "reef/language"]
    assert found[0].reason == "excludes reef/math"
