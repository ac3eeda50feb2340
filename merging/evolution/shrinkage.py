"""The front of a search with shrinkage: by what a model of the scores expects, instead of by the luckiest scores.

The best of many noisy scores are too high. A model that smooths the scores over the genes knows of each recipe what its
neighbours scored too, so its expectations are nearer to what the recipe scores on other items, and recipes that were
merely unlucky come to the front beside those that were merely lucky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from merging.evolution.outcomes import Scored
from merging.evolution.pareto import nondominated, spread_order
from merging.evolution.surrogate.landscape import fit_landscape
from merging.evolution.surrogate.score_model import can_be_modelled, told_rows
from merging.spaces.space import Genome, SearchSpace

Array = NDArray[np.float64]

FEWEST = 60
"""Fewest scored recipes that a model is learned from: with fewer it does not find a better front than the scores do."""

CERTAIN = 0.8
"""Probability of being surpassed in all scores from which on a recipe of the measured front is left out."""

UNEXPLAINED = 4.0
"""Difference between measured and expected scores, in robust standard deviations of all recipes', that is no luck: the
model does not know such a recipe, so it cannot tell."""

DRAWS = 400
"""Draws by which that probability is estimated."""


@dataclass(frozen=True)
class ShrunkRecipe:
    """A recipe on the front by its measured scores, or by the expected ones, or both.

    expected: scores by the model, one per objective. measured_best: whether no measured recipe dominates it by its
    measured scores. chosen: whether it is on the front.
    """

    scored: Scored
    expected: tuple[float, ...]
    measured_best: bool
    chosen: bool


def shrink_front(space: SearchSpace, scored: Sequence[Scored], most: int) -> tuple[ShrunkRecipe, ...] | None:
    """Choose the front among the measured recipes of a search, best in the first objective first.

    On it are the recipes that no other one dominates by expected scores, and those of the measured front about which
    the model cannot tell: none of these surpasses them with a probability of at least `CERTAIN`, or their scores are
    too far from what it expects to be luck. most: members that it may have; it may have more only as
    far as the measured front does.

    None where there is no model: for fewer than `FEWEST` recipes, and where a measured recipe has no genome or scores
    that are too large for one. Recipes that a race has stopped teach the model by their estimates, with their errors;
    they are never on the front.
    """
    succeeded = [one for one in scored if one.outcome.objectives is not None]
    genomes = [space.encode(one.recipe) for one in succeeded]
    pairs = zip(succeeded, genomes, strict=True)
    known = [(one, genome) for one, genome in pairs if genome is not None and can_be_modelled(one.point)]
    measured = [(one, genome) for one, genome in known if one.outcome.is_measured]
    if len(known) < FEWEST or len(measured) < sum(one.outcome.is_measured for one in succeeded):
        return None
    points = np.array([one.point for one, _ in known])
    errors = [one.outcome.errors for one, _ in known]
    told = told_rows(points)
    landscape = fit_landscape(space, [known[row][1] for row in told], points[told], [errors[row] for row in told])
    recipes, places = [one for one, _ in measured], [genome for _, genome in measured]
    expected, _ = landscape.predict(places)

    def draws(indices: Sequence[int]) -> Array:
        chosen: list[Genome] = [places[index] for index in indices]
        return landscape.draw(chosen, DRAWS, np.random.default_rng(0))

    best = nondominated([one.point for one in recipes])
    smoothed = nondominated(expected.tolist())
    doubtful = [index for index in best if index not in smoothed]
    kept = _not_surpassed(draws([*smoothed, *doubtful]), len(smoothed))
    unexplained = _unexplained(np.array([one.point for one in recipes]) - expected)
    front = sorted({*smoothed, *(doubtful[place] for place in kept), *(one for one in doubtful if unexplained[one])})
    front = _spread(front, expected, max(most, len(best)))
    members = sorted({*best, *front}, key=lambda index: (recipes[index].point, recipes[index].recipe.digest))
    return tuple(
        ShrunkRecipe(recipes[index], tuple(map(float, expected[index])), index in best, index in front)
        for index in reversed(members)
    )


def _not_surpassed(draws: Array, members: int) -> list[int]:
    """The places, behind the members, of recipes that no member surpasses for certain.

    draws: (recipes × draws × objectives), joint ones, the members first.
    """
    front, others = draws[:members], draws[members:]
    chances = (front[None] >= others[:, None]).all(axis=-1).mean(axis=-1)
    return [place for place, row in enumerate(chances) if row.max() < CERTAIN]


def _unexplained(residuals: Array) -> NDArray[np.bool_]:
    """Which recipes have a score that is too high for the model. residuals: recipes × objectives."""
    deviations = 1.4826 * np.median(np.abs(residuals - np.median(residuals, axis=0)), axis=0)
    unexplained: NDArray[np.bool_] = np.any(residuals > UNEXPLAINED * np.maximum(deviations, 1e-12), axis=1)
    return unexplained


def _spread(front: Sequence[int], expected: Array, most: int) -> list[int]:
    """At most so many members, spread over the front."""
    return [front[place] for place in spread_order(expected[list(front)].tolist())[:most]]
