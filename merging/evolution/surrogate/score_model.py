"""What a search expects of genomes that it has not scored: their scores, and whether they have any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from merging.evolution.outcomes import Outcome
from merging.evolution.surrogate.breeding import best_ranks
from merging.evolution.surrogate.features import GenePoints
from merging.evolution.surrogate.gaussian_process import GaussianProcess, fit_gaussian_process
from merging.evolution.surrogate.landscape import Landscape, fit_landscape
from merging.spaces.space import Genome, SearchSpace

Array = NDArray[np.float64]

ExactScores = Callable[[Sequence[Genome]], Array]
"""The last objectives of genomes (genomes × exact objectives), where they follow from the genes without scoring."""

MOST_TOLD = 2000
"""Most scores that a model learns from: its time grows with their cube."""

LARGEST = 1e30
"""The models square scores, in part with 32 bits: a recipe with a larger one counts as failed to them."""

FAILURE_NOISE = 0.3
"""Standard deviation of success (0 or 1) about its chance, before it is learned."""

LEAST_CHANCE = 0.25
"""The chance of success below which nothing is tried, however much it would gain."""


@dataclass(frozen=True)
class ScoreModel:
    """Models of the scores that have to be measured, and of success; None where nothing has failed.

    lowest: the lowest score in each objective so far.
    """

    landscape: Landscape
    success: GaussianProcess | None
    exact: ExactScores
    lowest: Array

    def scores(self, genomes: Sequence[Genome]) -> Array:
        """The middles of the scores' distributions (genomes × objectives)."""
        return np.hstack([self.landscape.medians(genomes), self.exact(genomes)])

    def promise(self, genomes: Sequence[Genome]) -> Array:
        """As `scores`, but the lowest ones so far for genomes that are more likely to fail than not."""
        return np.where(self.chances(genomes)[:, None] < 0.5, self.lowest, self.scores(genomes))

    def draws(self, genomes: Sequence[Genome], count: int, random: np.random.Generator) -> Array:
        """Joint draws of the scores (genomes × draws × objectives)."""
        exact = np.repeat(self.exact(genomes)[:, None], count, axis=1)
        return np.concatenate([self.landscape.draw(genomes, count, random), exact], axis=-1)

    def chances(self, genomes: Sequence[Genome]) -> Array:
        """The chance of each genome to have scores; 0 where it is too small to try."""
        if self.success is None:
            return np.ones(len(genomes))
        chances = np.minimum(self.success.means(self.landscape.points(genomes)), 1.0)
        return np.where(chances < LEAST_CHANCE, 0.0, chances)


def learn_scores(space: SearchSpace, told: Mapping[Genome, Outcome], exact: ExactScores) -> ScoreModel:
    """Learn from the outcomes so far, of which at least two are successes."""
    known = [(genome, outcome) for genome, outcome in told.items() if can_be_modelled(outcome.objectives)]
    scores = np.array([outcome.objectives for _, outcome in known])
    used = [known[index] for index in told_rows(scores)]
    modelled = scores.shape[1] - exact([known[0][0]]).shape[1]
    landscape = fit_landscape(
        space,
        [genome for genome, _ in used],
        [(outcome.objectives or ())[:modelled] for _, outcome in used],
        [None if outcome.errors is None else outcome.errors[:modelled] for _, outcome in used],
    )
    return ScoreModel(landscape, _learn_success(space, told), exact, scores.min(axis=0))


def can_be_modelled(values: Sequence[float] | None) -> bool:
    """Whether a recipe has scores, and a model can compute with them."""
    return values is not None and max(map(abs, values)) < LARGEST


def told_rows(scores: Array) -> list[int]:
    """The indices of the scores that a model learns from: all, up to `MOST_TOLD`.

    Of more one half are those of the first nondominated fronts, the other half evenly from the rest: without the bad
    ones it would not know where they are. scores: rows × objectives.
    """
    if len(scores) <= MOST_TOLD:
        return list(range(len(scores)))
    best = best_ranks(scores, MOST_TOLD // 2)
    rest = sorted({*range(len(scores))} - {*best})
    evenly = np.linspace(0, len(rest) - 1, MOST_TOLD - len(best)).astype(int)
    return sorted([*best, *(rest[place] for place in evenly)])


def _learn_success(space: SearchSpace, told: Mapping[Genome, Outcome]) -> GaussianProcess | None:
    """A Gaussian process of success, 1 or 0, over the newest outcomes."""
    newest = list(told.items())[-MOST_TOLD:]
    success = np.array([float(can_be_modelled(outcome.objectives)) for _, outcome in newest])
    if success.all():
        return None
    points = GenePoints(space)
    noise = np.full(len(newest), FAILURE_NOISE)
    return fit_gaussian_process(points([genome for genome, _ in newest]), success, noise, points.genes)
