"""How much of what a search gained is there on items that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING

from bot.scoring.evaluator import Evaluation
from bot.search.comparisons import SkillValues, read_skill_values
from bot.search.results import GeneralisationGap
from evaluation.skills import Skill
from merging.evolution.pareto import hypervolume

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 400
CONFIDENCE = 0.95

Points = Mapping[str, Sequence[float]]
"""Skill scores on the search split by recipe digest."""


def measure_gap(
    front: Points,
    baselines: Points,
    validation: Sequence[Evaluation],
    skills: Sequence[Skill],
    directions: Mapping[str, bool],
    reference: Sequence[float],
) -> GeneralisationGap | None:
    """Compare the hypervolume of a front on the split that it was chosen by with that on the validation split.

    front, baselines: their scores on the search split. validation: the evaluations of all on the validation split.
    directions: whether higher is better, by task. reference: the point above which hypervolume is measured, one value
    per skill. Models that could not be scored on both splits do not count; None if no member of the front is left.

    The gain on the search split is what it is; only what the front gains on items in general has to be estimated. So
    the limits are normal ones by a Bayesian bootstrap (Rubin 1981) over the validation items, in which an item has the
    same weight in all models and skills: its standard deviation, around the difference less its bias, because the
    hypervolume of noisy scores is too large on any split.
    """
    scored = {one.recipe.digest: one for one in validation if one.failure is None}
    members = [digest for digest in front if digest in scored]
    others = [digest for digest in baselines if digest in scored and digest not in front]
    if not members:
        return None
    evaluations = [scored[digest] for digest in (*members, *others)]
    table = _ItemTable([read_skill_values(one, skills, directions) for one in evaluations])

    def volumes(points: Sequence[Sequence[float]]) -> tuple[float, float]:
        """The hypervolume of the front, and what it adds to that of the baselines; the front's points come first."""
        everything, before = (hypervolume(part, reference) for part in (points, points[len(members) :]))
        return hypervolume(points[: len(members)], reference), everything - before

    search, search_gain = volumes([*(front[digest] for digest in members), *(baselines[digest] for digest in others)])
    validated, validation_gain = volumes(table.scores())
    resampled = [volumes(points)[1] for points in table.resampled()]
    middle = search_gain - validation_gain + (fmean(resampled) - validation_gain)
    reach = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * stdev(resampled)
    return GeneralisationGap(search, validated, search_gain, validation_gain, middle - reach, middle + reach)


class _ItemTable:
    """The item values of some models, and their skill scores for any weights of the items."""

    def __init__(self, models: Sequence[SkillValues]) -> None:
        import numpy as np

        items = sorted({item for strata in models[0].values() for stratum in strata for item in stratum.items})
        place = {item: index for index, item in enumerate(items)}
        self._items = len(items)
        # For each skill its tasks: weight, places of the items, and a row of their values for each model.
        self._tasks = [
            [
                (
                    stratum.weight,
                    np.array([place[item] for item in stratum.items]),
                    np.array([model[skill][number].values for model in models]),
                )
                for number, stratum in enumerate(strata)
            ]
            for skill, strata in models[0].items()
        ]

    def scores(self) -> list[list[float]]:
        """Skill scores of each model."""
        import numpy as np

        return self._weighted(np.ones((1, self._items)))[0]

    def resampled(self) -> list[list[list[float]]]:
        """The scores as they might be on other items of the same kind: for each resampling those of all models."""
        import numpy as np

        return self._weighted(np.random.default_rng(0).exponential(size=(RESAMPLES, self._items)))

    def _weighted(self, weights: NDArray[np.float64]) -> list[list[list[float]]]:
        """Scores (weightings × models × skills). weights: weightings × items."""
        import numpy as np

        skills = []
        for tasks in self._tasks:
            means = [
                share * (weights[:, places] @ values.T) / weights[:, places].sum(axis=1, keepdims=True)
                for share, places, values in tasks
            ]
            skills.append(np.sum(means, axis=0))
        scores: list[list[list[float]]] = np.stack(skills, axis=-1).tolist()
        return scores
