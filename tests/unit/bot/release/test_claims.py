"""What a card may claim: held against the tests, their correction, and the intervals beside them."""

from __future__ import annotations

import math

from bot.release.card.claims import Standing, bold, claims, overall, standings
from bot.release.card.facts import BaselineScores, Estimate, Lead, ScoreTable
from bot.search.results import BaselineKind
from evaluation.statistics.intervals import tango
from evaluation.statistics.paired import mcnemar

AHEAD, LEVEL, BEHIND = Standing.AHEAD, Standing.LEVEL, Standing.BEHIND


def lead(mean: float, p_value: float) -> Lead:
    half = abs(mean) / 2
    return Lead(mean, mean - half, mean + half, p_value)


def score(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.05, mean + 0.05)


def table(*leads: tuple[Lead, ...], own: float = 0.6) -> ScoreTable:
    """Sources of which each is as far from the release's score as the leads say."""
    skills = tuple(f"s{index}" for index in range(len(leads[0])))
    baselines = [
        BaselineScores(f"r{i}", BaselineKind.SOURCE, f"r{i}", tuple(score(own - one.mean) for one in row), row)
        for i, row in enumerate(leads)
    ]
    return ScoreTable(skills, tuple(score(own) for _ in skills), tuple(baselines))


def test_every_lead_is_tested_beside_all_others_by_holms_method() -> None:
    leads = (lead(0.1, 0.01), lead(0.1, 0.04)), (lead(0.1, 0.03), lead(-0.1, 0.005))
    # .005 <= .05/4, .01 <= .05/3, .03 > .05/2: as in the test of Holm's method itself.
    assert standings(table(*leads)) == ((AHEAD, LEVEL), (LEVEL, BEHIND))


def test_a_difference_that_would_do_alone_is_not_claimed_among_many() -> None:
    assert standings(table((lead(0.1, 0.04),))) == ((AHEAD,),)
    crowd = [(lead(0.1, 0.04),), *[(lead(0.01, 0.9),)] * 9]
    assert standings(table(*crowd))[0] == (LEVEL,)
    assert not bold(table(*crowd))[0][0]


def test_an_interval_around_zero_forbids_a_claim_whatever_the_test_says() -> None:
    assert standings(table((Lead(0.1, -0.01, 0.2, 0.001),))) == ((LEVEL,),)


def test_ahead_of_all_means_of_each_and_one_that_is_better_decides() -> None:
    assert overall([AHEAD, AHEAD]) is AHEAD
    assert overall([AHEAD, LEVEL]) is LEVEL
    assert overall([AHEAD, LEVEL, BEHIND]) is BEHIND


def test_claims_name_the_best_of_those_that_decide() -> None:
    leads = (lead(0.5, 1e-9), lead(0.4, 1e-9)), (lead(0.2, 1e-6), lead(-0.1, 1e-5)), (lead(0.3, 1e-6), lead(-0.2, 0.6))
    found = {s: [(c.skill, c.baseline) for c in made] for s, made in claims(table(*leads), BaselineKind.SOURCE).items()}
    assert found == {AHEAD: [("s0", "r1")], BEHIND: [("s1", "r1")]}
    assert claims(table(*leads), BaselineKind.PLAIN) == {}
    (level,) = claims(table((lead(0.1, 1e-9),), (lead(0.2, 0.5),), (lead(0.3, 0.5),)), BaselineKind.SOURCE)[LEVEL]
    assert (level.baseline, level.baseline_score) == ("r1", 0.6 - 0.2)  # of r0, the best, it is told apart


def test_bold_is_one_score_a_column_and_only_beyond_chance() -> None:
    leads = (lead(0.5, 1e-9), lead(0.4, 1e-9)), (lead(0.2, 1e-6), lead(-0.1, 1e-5))
    assert bold(table(*leads)) == ((True, False), (False, False), (False, True))
    assert not any(any(row) for row in bold(table((lead(0.5, 0.5), lead(-0.4, 0.5)))))


def test_no_significant_test_of_right_or_wrong_items_meets_an_interval_around_zero() -> None:
    """Of all tables of up to 60 discordant items: the exact test never says more than the interval shows."""
    for n in (6, 20, 60, 400):
        for discordant in range(1, min(n, 60) + 1):
            for wins in range(math.ceil(discordant / 2), discordant + 1):
                if 2 * mcnemar(wins, discordant - wins) <= 0.05:
                    assert tango(wins, discordant - wins, n).low > 0
