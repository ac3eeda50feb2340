"""What a card may claim, by the tests, their correction, and the intervals printed with them."""

from __future__ import annotations

import math

from bot.release.card.claims import (
    Standing,
    choose_bold,
    combine_standings,
    find_standings,
    give_verdicts,
    list_unbeaten,
)
from bot.release.card.facts import BaselineScores, ScoreTable
from bot.search.results import BaselineKind
from evaluation.statistics.intervals import tango
from evaluation.statistics.paired import mcnemar
from evaluation.statistics.values import Interval, PairedDifference

AHEAD, LEVEL, BEHIND = Standing.AHEAD, Standing.LEVEL, Standing.BEHIND


def lead(mean: float, two_sided: float) -> PairedDifference:
    half = abs(mean) / 2
    return PairedDifference(mean, mean - half, mean + half, 100, two_sided / 2, two_sided)


def score(mean: float) -> Interval:
    return Interval(mean, mean - 0.05, mean + 0.05, 100)


def table(*leads: tuple[PairedDifference, ...], own: float = 0.6) -> ScoreTable:
    """Sources of which each is as far from the release's score as the leads say."""
    skills = tuple(f"s{index}" for index in range(len(leads[0])))
    baselines = [
        BaselineScores(f"r{i}", BaselineKind.SOURCE, tuple(score(own - one.mean) for one in row), row)
        for i, row in enumerate(leads)
    ]
    return ScoreTable(skills, tuple(score(own) for _ in skills), tuple(baselines))


def test_all_leads_are_tested_together_by_holms_method() -> None:
    leads = (lead(0.1, 0.01), lead(0.1, 0.04)), (lead(0.1, 0.03), lead(-0.1, 0.005))
    # .005 <= .05/4, .01 <= .05/3, .03 > .05/2: as in the test of Holm's method itself.
    assert find_standings(table(*leads)) == ((AHEAD, LEVEL), (LEVEL, BEHIND))


def test_a_difference_that_would_do_alone_is_not_claimed_among_many() -> None:
    assert find_standings(table((lead(0.1, 0.04),))) == ((AHEAD,),)
    crowd = [(lead(0.1, 0.04),), *[(lead(0.01, 0.9),)] * 9]
    assert find_standings(table(*crowd))[0] == (LEVEL,)
    assert not choose_bold(table(*crowd))[0][0]


def test_an_interval_around_zero_forbids_a_claim_whatever_the_test_says() -> None:
    assert find_standings(table((PairedDifference(0.1, -0.01, 0.2, 100, 0.0005, 0.001),))) == ((LEVEL,),)


def test_ahead_of_all_means_of_each_and_one_that_is_better_decides() -> None:
    assert combine_standings([AHEAD, AHEAD]) is AHEAD
    assert combine_standings([AHEAD, LEVEL]) is LEVEL
    assert combine_standings([AHEAD, LEVEL, BEHIND]) is BEHIND


def test_a_verdict_names_the_strongest_of_all_baselines_whatever_its_kind() -> None:
    """A merge that is far better than both sources, worse than the base, and equal to the plain mean."""
    scores = {"one": (0.1, 0.7), "two": (0.4, 0.2), "base": (0.55, 0.75), "mean": (0.793, 0.753)}
    kinds = [BaselineKind.SOURCE, BaselineKind.SOURCE, BaselineKind.BASE, BaselineKind.PLAIN]
    baselines = tuple(
        BaselineScores(name, kind, tuple(map(score, means)), tuple(lead(0.753 - mean, 1e-9) for mean in means))
        for (name, means), kind in zip(scores.items(), kinds, strict=True)
    )
    verdicts = give_verdicts(ScoreTable(("s", "t"), (score(0.753), score(0.753)), baselines))
    assert [(one.baseline.name, one.standing) for one in verdicts] == [("mean", BEHIND), ("mean", LEVEL)]
    assert [(one.own.mean, one.baseline_score.mean) for one in verdicts] == [(0.753, 0.793), (0.753, 0.753)]


def test_of_equally_strong_baselines_the_one_that_is_not_shown_to_be_beaten_counts() -> None:
    leads = (lead(0.3, 1e-9),), (lead(0.3, 0.9),), (lead(0.3, 1e-9),)
    (verdict,) = give_verdicts(table(*leads))
    assert (verdict.baseline.name, verdict.standing, verdict.others) == ("r1", LEVEL, ())


def test_a_verdict_names_weaker_baselines_that_stand_better_than_the_strongest() -> None:
    leads = (lead(0.1, 1e-9),), (lead(0.2, 0.5),), (lead(0.4, 1e-9),)
    (verdict,) = give_verdicts(table(*leads))
    assert (verdict.baseline.name, verdict.standing) == ("r0", AHEAD)
    assert verdict.others == ((LEVEL, ("r1",)),)


def test_the_gate_is_confirmed_by_being_better_than_each_baseline_at_some_skill() -> None:
    confirmed = table((lead(0.2, 1e-9), lead(-0.1, 1e-9)), (lead(0.0, 0.9), lead(0.3, 1e-9)))
    assert list_unbeaten(confirmed) == ()
    assert list_unbeaten(table((lead(0.2, 1e-9), lead(0.2, 1e-9)), (lead(0.1, 0.2), lead(0.1, 0.3)))) == ("r1",)


def test_a_sibling_is_tested_with_the_baselines_and_is_none_of_them() -> None:
    baseline, sibling = table((lead(0.2, 0.03),), (lead(-0.3, 1e-9),)).baselines
    both = ScoreTable(("s0",), (score(0.6),), (baseline,), (sibling,))
    assert find_standings(both) == ((AHEAD,), (BEHIND,))
    assert find_standings(ScoreTable(("s0",), (score(0.6),), (baseline,), (sibling, sibling)))[0] == (AHEAD,)
    (verdict,) = give_verdicts(both)
    assert verdict.baseline == baseline and list_unbeaten(both) == ()
    assert choose_bold(both) == ((False,), (False,), (True,))


def test_bold_is_one_score_a_column_and_only_beyond_chance() -> None:
    leads = (lead(0.5, 1e-9), lead(0.4, 1e-9)), (lead(0.2, 1e-6), lead(-0.1, 1e-5))
    assert choose_bold(table(*leads)) == ((True, False), (False, False), (False, True))
    assert not any(any(row) for row in choose_bold(table((lead(0.5, 0.5), lead(-0.4, 0.5)))))


def test_no_significant_test_of_right_or_wrong_items_meets_an_interval_around_zero() -> None:
    """Of all tables of up to 60 discordant items: the exact test never says more than the interval shows."""
    for n in (6, 20, 60, 400):
        for discordant in range(1, min(n, 60) + 1):
            for wins in range(math.ceil(discordant / 2), discordant + 1):
                if 2 * mcnemar(wins, discordant - wins) <= 0.05:
                    assert tango(wins, discordant - wins, n).low > 0
