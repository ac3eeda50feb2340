"""The choice of what to score next by a model of what was scored.

Many genomes are bred on the model alone; those are chosen that are expected to improve the front's hypervolume most.
The model is told what has failed, too, and gains are weighed by the chance to succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from merging.evolution.outcomes import Outcome, Scored
from merging.evolution.pareto import nondominated
from merging.evolution.surrogate.breeding import best_ranks, breed
from merging.evolution.surrogate.improvement import choose_batch
from merging.evolution.surrogate.score_model import ScoreModel, can_be_modelled, learn_scores
from merging.recipes.recipe import Recipe
from merging.spaces.space import Genome, SearchSpace

Array = NDArray[np.float64]

Exact = Callable[[Recipe], tuple[float, ...]]
"""The last objectives of a recipe, where they follow from it without scoring, such as its depth."""

PARENTS = 60
"""Genomes that the bred ones descend from, those of the first fronts."""

BRED, STRANGERS = 250, 50
"""Candidates among which a batch is chosen: the best bred ones, and random ones, whose scores are less certain."""

DRAWS = 32
"""Joint draws of the candidates' scores."""

SMALL = 2000
"""Genomes of a space in which nothing is bred, because the model can be asked about all of them."""


class Foresight:
    """What was scored so far, and what is worth scoring next."""

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        *,
        exact: Exact | None = None,
        earlier: Sequence[Scored] = (),
    ) -> None:
        """earlier: recipes scored before, in this space or another."""
        self._space, self._seed, self._exact = space, seed, exact
        self._told: dict[Genome, Outcome] = {}
        self._elsewhere: list[tuple[float, ...]] = []  # measured points that this space has no genome for
        for one in earlier:
            genome = space.encode(one.recipe)
            if genome is not None and space.decode(genome).digest == one.recipe.digest:
                self._told[genome] = one.outcome
            elif one.outcome.is_measured and can_be_modelled(one.point):
                self._elsewhere.append(one.point)

    def tell(self, genomes: Sequence[Genome], outcomes: Sequence[Outcome]) -> None:
        """Take note of outcomes; newer ones replace older ones of the same recipe."""
        self._told |= dict(zip(map(self._canonical, genomes), outcomes, strict=True))

    def choose(
        self, count: int, generation: int, reference: Sequence[float], is_new: Callable[[Genome], bool]
    ) -> list[Genome]:
        """Up to `count` genomes that are new and expected to improve the front most, the best first.

        generation: decides all random draws, with the seed. reference: the point above which hypervolume counts.
        """
        known = [genome for genome, outcome in self._told.items() if can_be_modelled(outcome.objectives)]
        if len(known) < 2 or not can_be_modelled(reference):
            return []
        random = np.random.default_rng([self._seed, 4, generation])
        model = learn_scores(self._space, self._told, self._exact_scores)
        # The front by the model: raw scores of many candidates have been lucky, and estimates are on no front.
        scores = model.scores(known)
        front = np.array([*scores, *self._elsewhere])
        parents = [known[index] for index in best_ranks(scores, PARENTS)]
        candidates = self._candidates(parents, model, random, is_new)
        if not candidates:
            return []
        chosen = choose_batch(
            model.draws(candidates, DRAWS, random),
            model.chances(candidates),
            front[list(nondominated(front.tolist()))],
            np.array(reference),
            count,
            random,
        )
        return [candidates[index] for index in chosen]

    def _candidates(
        self,
        parents: Sequence[Genome],
        model: ScoreModel,
        random: np.random.Generator,
        is_new: Callable[[Genome], bool],
    ) -> list[Genome]:
        """New genomes, each recipe once, sorted: the order decides between equals."""
        promise = self._promising(parents, model, int(random.integers(2**31)))
        fresh = {genome: scores for genome, scores in promise.items() if is_new(genome)}
        genomes = list(fresh)
        best = [genomes[index] for index in best_ranks(np.array(list(fresh.values())), BRED)] if fresh else []
        strangers = map(self._canonical, islice(self._space.random_genomes(random), STRANGERS))
        return sorted({*best, *filter(is_new, strangers)})

    def _promising(self, parents: Sequence[Genome], model: ScoreModel, seed: int) -> dict[Genome, Array]:
        """Genomes with their modelled scores: all of a small space, else those that are bred on the model."""
        if self._space.size > SMALL:
            return breed(self._space, parents, model.promise, self._canonical, seed)
        every = map(self._space.repaired, product(*map(range, self._space.levels)))
        genomes = sorted(set(map(self._canonical, every)))
        return dict(zip(genomes, model.promise(genomes), strict=True))

    def _exact_scores(self, genomes: Sequence[Genome]) -> Array:
        """(genomes × exact objectives)"""
        if self._exact is None:
            return np.empty((len(genomes), 0))
        return np.array([self._exact(self._space.decode(genome)) for genome in genomes])

    def _canonical(self, genome: Sequence[int]) -> Genome:
        """One genome for all that mean the same recipe, so that equal recipes are at one point."""
        return self._space.encode(self._space.decode(genome)) or tuple(genome)
