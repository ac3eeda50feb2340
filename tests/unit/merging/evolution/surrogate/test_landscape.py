"""Scores modelled over genomes: genes of both kinds, rates and other scores, and noise."""

import numpy as np
import pytest

from merging.evolution.surrogate.features import GenePoints
from merging.evolution.surrogate.landscape import fit_landscape, rate_moments
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.paths import PathSpace
from merging.spaces.weight_merges import WeightMergeSpace

SOURCES = [ModelId(f"org/{name}", "0" * 40) for name in ("math", "language")]
SPACE = WeightMergeSpace.build(
    method="task_arithmetic",
    sources=SOURCES,
    base=ModelId("org/base", "f" * 40),
    groups=Partition.even(4, 2, modules_apart=False, ends_apart=False),
    dtype="float32",
    seed=0,
)


def genomes_of(space, count, seed):
    draw = space.random_genomes(np.random.default_rng(seed))
    return [next(draw) for _ in range(count)]


def test_scores_of_many_items_are_predicted_from_scores_of_few():
    """A rate and a score in other units, each as far off as its own errors say."""
    random = np.random.default_rng(0)
    genomes, asked = genomes_of(SPACE, 80, 1), genomes_of(SPACE, 100, 2)

    def truth(genomes):
        levels = np.array(genomes) / 30
        rate = np.exp(-3 * ((levels - 0.6) ** 2).sum(axis=1))
        return np.column_stack([rate, -40 + 10 * levels[:, 0] - 8 * levels[:, 1] ** 2])

    exact = truth(genomes)
    items = np.where(np.arange(80) % 2, 400, 25)  # half of the candidates answered few
    errors = np.column_stack([np.sqrt(np.maximum(exact[:, 0] * (1 - exact[:, 0]), 1e-3) / items), 20 / items])
    scores = np.column_stack([random.binomial(items, exact[:, 0]) / items, random.normal(exact[:, 1], errors[:, 1])])
    landscape = fit_landscape(SPACE, genomes, scores, errors)
    assert landscape.rates == (True, False)
    means, deviations = landscape.predict(asked)
    off = means - truth(asked)
    assert (np.abs(off).mean(axis=0) < [0.04, 0.4]).all()
    assert (np.sqrt(((off / deviations) ** 2).mean(axis=0)) > 0.4).all()
    assert (np.sqrt(((off / deviations) ** 2).mean(axis=0)) < 1.7).all()
    # Nearer to the truth than the scores themselves, which is what shrinkage is for.
    shrunk = np.abs(landscape.predict(genomes)[0] - exact).mean(axis=0)
    assert (shrunk < 0.6 * np.abs(scores - exact).mean(axis=0)).all()
    # Without errors they are learned, less well.
    blind = fit_landscape(SPACE, genomes, scores).predict(asked)[0] - truth(asked)
    assert (np.abs(off).mean(axis=0) < np.abs(blind).mean(axis=0)).all()


def test_draws_agree_with_predictions_and_rates_stay_rates():
    genomes, asked = genomes_of(SPACE, 30, 3), genomes_of(SPACE, 20, 4)
    rates = np.array(genomes)[:, :1] / 30
    landscape = fit_landscape(SPACE, genomes, rates, [(0.05,)] * 30)
    draws = landscape.draw(asked, 4000, np.random.default_rng(0))
    means, deviations = landscape.predict(asked)
    assert draws.shape == (20, 4000, 1)
    assert draws.min() >= 0 and draws.max() <= 1
    assert draws.mean(axis=1) == pytest.approx(means, abs=0.02)
    assert draws.std(axis=1) == pytest.approx(deviations, abs=0.02)
    assert landscape.medians(asked) == pytest.approx(np.median(draws, axis=1), abs=0.02)


def test_the_moments_of_rates_are_those_of_draws():
    means, deviations = np.array([0.2, 0.8, 1.4]), np.array([0.05, 0.3, 0.1])
    draws = np.sin(means + deviations * np.random.default_rng(0).standard_normal((200_000, 3))) ** 2
    mean, deviation = rate_moments(means, deviations)
    assert mean == pytest.approx(draws.mean(axis=0), abs=1e-3)
    assert deviation == pytest.approx(draws.std(axis=0), abs=1e-3)


def test_choices_are_equally_far_apart_and_numbers_without_meaning_are_all_alike():
    whole = Partition.even(4, 1, modules_apart=False, ends_apart=False)
    parts = [WeightMerge.single(ModelId(f"org/{name}", "0" * 40), whole, "float32") for name in "abc"]
    space = PathSpace.build(parts, tied=True)
    points = GenePoints(space)
    genome = list(space.seeds()[0])
    ends = [points([[end, *genome[1:]]])[0] for end in range(3)]
    distances = [np.linalg.norm(ends[one] - ends[other]) for one, other in ((0, 1), (0, 2), (1, 2))]
    assert distances == pytest.approx([1, 1, 1])
    scale, slot = next((scale, slot) for scale, slot in space.switches.items() if not genome[slot])
    moved = genome.copy()
    moved[scale] = space.levels[scale] - 1
    assert (points([genome]) == points([moved])).all()
    moved[slot] = 1
    assert np.linalg.norm(points([genome]) - points([moved])) > 1
