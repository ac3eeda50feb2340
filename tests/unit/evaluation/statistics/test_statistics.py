import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import optimize, stats

from evaluation.errors import EvaluationError
from evaluation.statistics.intervals import bootstrap_interval, score_interval, skill_interval, tango, wilson
from evaluation.statistics.paired import holm, holm_thresholds, mcnemar, paired_difference
from evaluation.statistics.values import Interval, PairedDifference, Stratum


def compare(a: Sequence[float], b: Sequence[float], seed: int) -> PairedDifference:
    """Two models on the items of one task."""
    return paired_difference(*([Stratum(1.0, tuple(map(str, range(len(one)))), tuple(one))] for one in (a, b)), seed)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (52, 250), (250, 250), (81, 263), (999, 2000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_is_scipys(successes: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    found = wilson(successes, n, confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_gives_newcombes_published_limits() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, n), limits in published.items():
        found = wilson(successes, n)
        assert (found.low, found.high) == pytest.approx(limits, abs=5e-5)


def test_tango_gives_the_published_limits() -> None:
    # Fagerland, Lydersen & Laake (2014), Statistics in Medicine 33:2850, of airway hyper-responsiveness: 1 and 7 of 21.
    found = tango(1, 7, 21)
    assert (found.mean, found.low, found.high) == pytest.approx((-0.286, -0.517, -0.026), abs=5e-4)
    turned = tango(7, 1, 21)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize(("wins", "losses", "n"), [(5, 2, 50), (0, 0, 50), (30, 4, 80), (0, 6, 40), (40, 0, 40)])
def test_tangos_limits_are_where_the_score_test_stops_rejecting(wins: int, losses: int, n: int) -> None:
    """The nuisance share found by maximising the likelihood numerically, instead of by the quadratic equation."""

    def score(delta: float) -> float:
        def minus_likelihood(q: float) -> float:
            shares, counts = (q + delta, q, 1 - 2 * q - delta), (wins, losses, n - wins - losses)
            return -sum(
                count * np.log(max(share, 1e-300)) for count, share in zip(counts, shares, strict=True) if count
            )

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = optimize.minimize_scalar(minus_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        return (wins - losses - n * delta) / np.sqrt(n * (2 * q + delta - delta**2))

    found = tango(wins, losses, n)
    for limit, z in ((found.low, 1.96), (found.high, -1.96)):
        assert abs(limit) == 1 or score(limit) == pytest.approx(z, abs=0.002)


def test_tangos_limits_keep_their_confidence_even_if_models_hardly_differ() -> None:
    rng = np.random.default_rng(4)
    for wins, losses, n in ((0.25, 0.25, 60), (0.3, 0.05, 100), (0.04, 0.0, 100), (0.02, 0.01, 200)):
        draws = rng.multinomial(n, [wins, losses, 1 - wins - losses], size=1500)[:, :2].tolist()
        limits = [tango(won, lost, n) for won, lost in draws]
        assert 0.93 <= np.mean([one.low <= wins - losses <= one.high for one in limits]) <= 0.985


def test_the_bootstrap_keeps_its_confidence_for_a_skewed_mean() -> None:
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(400, 80))
    hits = 0
    for number, sample in enumerate(samples):
        found = bootstrap_interval(sample.tolist(), seed=number, resamples=600)
        hits += found.low <= 1.0 <= found.high
    assert 0.90 <= hits / 400 <= 0.975


def test_the_bootstrap_is_reproducible_and_follows_its_seed() -> None:
    values = np.random.default_rng(1).normal(size=50).tolist()
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    expected = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    found = bootstrap_interval(values, seed=1)
    limits = (expected.confidence_interval.low, expected.confidence_interval.high)
    assert (found.low, found.high) == pytest.approx(limits, abs=0.02)


def test_interval_takes_wilson_for_right_or_wrong_and_the_bootstrap_otherwise() -> None:
    right_or_wrong = [1.0] * 7 + [0.0] * 13
    assert score_interval(right_or_wrong, seed=0) == wilson(7, 20)
    graded = [0.5, *right_or_wrong]
    assert score_interval(graded, seed=0) == bootstrap_interval(graded, seed=0)


def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_items() -> None:
    for wins, losses, same in itertools.product([0, 1, 5, 12, 700], [0, 3, 12, 650], [1, 40]):
        a = [1.0] * wins + [0.0] * losses + [1.0] * same
        b = [0.0] * wins + [1.0] * losses + [1.0] * same
        expected = stats.binomtest(wins, wins + losses, alternative="greater").pvalue if wins + losses else 1.0
        assert compare(a, b, seed=0).p_value == pytest.approx(expected, rel=1e-9)


def test_the_sign_flip_test_is_the_exact_permutation_test() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.4, 1, size=9), rng.normal(size=9)
    signs = np.array(list(itertools.product([-1, 1], repeat=9)))
    exact = (signs @ (a - b) >= (a - b).sum() - 1e-12).mean()
    assert compare(a.tolist(), b.tolist(), seed=0).p_value == pytest.approx(exact, abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["right or wrong", "graded", "two tasks"])
def test_equal_models_are_called_better_no_more_often_than_the_level(kind: str) -> None:
    rng = np.random.default_rng(7)
    level, runs, calls = 0.05, 400, 0
    for run in range(runs):
        if kind == "graded":
            a, b = rng.beta(0.5, 0.5, size=(2, 40)).tolist()
            calls += compare(a, b, seed=run).p_value <= level
            continue
        difficulty = rng.random(60)
        a, b = (rng.random((2, 60)) < difficulty).astype(float).tolist()
        if kind == "right or wrong":
            calls += compare(a, b, seed=run).p_value <= level
        else:
            calls += paired_difference(two_tasks(a), two_tasks(b), seed=run).p_value <= level
    assert calls / runs <= level + 2.6 * (level * (1 - level) / runs) ** 0.5
    assert calls > 0


def two_tasks(values: list[float]) -> tuple[Stratum, Stratum]:
    items = tuple(str(number) for number in range(len(values)))
    return Stratum(0.7, items[:20], tuple(values[:20])), Stratum(0.3, items[20:], tuple(values[20:]))


def test_a_two_sided_p_is_twice_the_smaller_and_the_same_from_either_side() -> None:
    a, b = two_tasks([1.0] * 30 + [0.0] * 30), two_tasks([0.0] * 12 + [1.0] * 48)
    assert paired_difference(a, b, seed=0).two_sided == pytest.approx(
        paired_difference(b, a, seed=0).two_sided, abs=0.01
    )
    one, other = (Stratum(1.0, ("i", "j", "k"), values) for values in ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    assert paired_difference([one], [other], seed=0).two_sided == 2 * mcnemar(3, 0) == 0.25


def test_a_better_model_is_found() -> None:
    rng = np.random.default_rng(2)
    for a, b in [
        ((rng.random(200) < 0.8).astype(float), (rng.random(200) < 0.5).astype(float)),
        (rng.normal(0.5, 1, 200), rng.normal(0, 1, 200)),
    ]:
        found, reverse = (
            compare(a.tolist(), b.tolist(), seed=0),
            compare(b.tolist(), a.tolist(), seed=0),
        )
        assert found.p_value < 0.001 and reverse.p_value > 0.99
        assert 0 < found.low < found.mean < found.high
        assert found.mean == pytest.approx(a.mean() - b.mean())


@pytest.mark.parametrize("kinship", [0.0, 0.8])
def test_the_limits_of_a_paired_difference_cover_it(kinship: float) -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(1000):
        difficulty = rng.random(60)
        a = difficulty < 0.6
        b = np.where(rng.random(60) < kinship, difficulty < 0.5, rng.random(60) < 0.5)
        found = compare(a.astype(float).tolist(), b.astype(float).tolist(), seed=0)
        hits += found.low <= 0.1 <= found.high
    assert 0.93 <= hits / 1000 <= 0.975


def test_two_models_that_agree_on_every_item_may_still_differ_a_little() -> None:
    found = compare([0.0] * 50, [0.0] * 50, seed=0)
    assert found.low == -found.high == pytest.approx(-wilson(0, 50).high, abs=1e-9)
    assert found.p_value == 1.0


def test_the_interval_of_a_skill_weighs_its_tasks_and_covers_its_mean() -> None:
    rng = np.random.default_rng(5)
    truth, hits = 0.7 * 0.3 + 0.3 * 0.9, 0
    for run in range(500):
        values = [*(rng.random(20) < 0.3), *(rng.random(40) < 0.9)]
        strata = two_tasks([float(value) for value in values])
        found = skill_interval(strata, seed=run)
        assert found.mean == pytest.approx(0.7 * np.mean(values[:20]) + 0.3 * np.mean(values[20:]))
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 500 <= 0.985


@pytest.mark.parametrize("graded", [False, True])
def test_two_equal_tasks_count_as_one(graded: bool) -> None:
    """A metric that says what another says adds nothing, to intervals or to tests."""
    rng = np.random.default_rng(8)
    items = tuple(map(str, range(60)))
    a, b = (rng.beta(3, 2, size=(2, 60)) if graded else rng.random((2, 60)) < [[0.7], [0.5]]).astype(float).tolist()
    twice = [[Stratum(weight, items, tuple(values)) for weight in (0.7, 0.3)] for values in (a, b)]
    found, expected = skill_interval(twice[0], seed=1), score_interval(a, seed=1)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx(
        (expected.mean, expected.low, expected.high, 60)
    )
    pair, single = paired_difference(*twice, seed=1), compare(a, b, seed=1)
    assert (pair.low, pair.high) == pytest.approx((single.low, single.high))
    assert pair.p_value == single.p_value


def partly_alike(rng: np.random.Generator, rate: float, luck: np.ndarray) -> list[Stratum]:
    """A strict and a lenient metric of the same answers, and 20 items that only the lenient one has."""
    lenient = luck < rate
    strict = lenient[:60] & (rng.random(60) < 0.9)
    items = tuple(map(str, range(80)))
    return [Stratum(0.5, items[:60], tuple(strict.astype(float))), Stratum(0.5, items, tuple(lenient.astype(float)))]


@pytest.mark.slow
def test_two_metrics_of_the_same_answers_do_not_count_as_twice_the_items() -> None:
    rng = np.random.default_rng(9)
    truth, runs = 0.5 * 0.9 * 0.4 + 0.5 * 0.4, 500
    scores = leads = calls = 0
    for run in range(runs):
        ease = rng.random(80)
        a, b = (partly_alike(rng, 0.4, np.where(rng.random(80) < 0.4, ease, rng.random(80))) for _ in range(2))
        found, paired = skill_interval(a, seed=run), paired_difference(a, b, seed=run)
        scores += found.low <= truth <= found.high
        leads += paired.low <= 0 <= paired.high
        calls += paired.p_value <= 0.05
    assert 0.93 <= scores / runs <= 0.985 and 0.93 <= leads / runs <= 0.985
    assert 0 < calls / runs <= 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5


def test_holm_rejects_as_computed_by_hand() -> None:
    # .005 <= .05/4, .01 <= .05/3, .03 > .05/2: the third fails, and with it the fourth, although .04 <= .05.
    assert holm([0.01, 0.04, 0.03, 0.005], alpha=0.05) == (True, False, False, True)
    assert holm([0.02, 0.02], alpha=0.05) == (True, True)
    assert holm([], alpha=0.05) == ()


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([0.01, 0.04], (True, True)),  # .01 <= .05/2, and then .04 <= .05
        ([0.03, 0.02], (True, True)),  # .02 <= .05/2, and then .03 <= .05
        ([0.04, 0.001, 0.02], (True, True, True)),  # .001 <= .05/3, .02 <= .05/2, .04 <= .05
        ([0.02, 0.04, 0.001, 0.2], (False, False, True, False)),  # .001 <= .05/4, but .02 > .05/3
    ],
)
def test_holm_rejects_what_bonferroni_would_not(p_values: list[float], rejected: tuple[bool, ...]) -> None:
    assert holm(p_values, alpha=0.05) == rejected
    bonferroni = tuple(p_value <= 0.05 / len(p_values) for p_value in p_values)
    assert (rejected == bonferroni) == (sum(rejected) == 1)


def test_holms_thresholds_grow_from_bonferronis_to_alpha() -> None:
    assert holm_thresholds([0.03, 0.001, 0.02], alpha=0.06) == pytest.approx((0.06, 0.02, 0.03))
    assert holm_thresholds([], alpha=0.05) == ()


def test_an_interval_holds_finite_numbers_only() -> None:
    with pytest.raises(ValueError, match="must be finite numbers"):
        Interval(0.5, float("nan"), 1.0, 3)


def test_missing_and_infinite_values_and_different_items_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no values"):
        score_interval([], seed=0)
    with pytest.raises(EvaluationError, match="not a finite number"):
        score_interval([0.5, float("nan")], seed=0)
    with pytest.raises(EvaluationError, match=r"scored on different items \(2 values against 1\)"):
        compare([1, 0], [1], seed=0)
    other = Stratum(0.3, ("x",), (1.0,))
    with pytest.raises(EvaluationError, match="scored on different items"):
        paired_difference(two_tasks([1.0] * 21), (two_tasks([1.0] * 21)[0], other), seed=0)
