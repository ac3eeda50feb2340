"""pymoo's NSGA-II behind two methods: ask for candidates that were never scored, tell their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from merging.evolution.operators import GenomeCrossover, GenomeMutation, GenomeRepair
from merging.recipes.path import Recipe
from merging.spaces.space import Genome, SearchSpace

# After so many draws that were all scored before, a space counts as searched through. Spaces of at most this
# size are gone through one by one instead, so that for them it is certain.
_PATIENCE = 2000


class Optimizer:
    """NSGA-II over genomes, narrowed to batches of candidates whose recipes were not handed out before.

    It is also the duplicate elimination that pymoo calls: two candidates are one if their recipes are.
    """

    def __init__(self, space: SearchSpace, objectives: int, *, population: int, seed: int) -> None:
        self._space = space
        self._size = population
        self._recipes: dict[Genome, Recipe] = {}
        self._handed_out: set[str] = set()
        # pymoo draws from default_rng(seed): this is another stream.
        self._random_genomes = _draws(space, np.random.default_rng([seed, 1]))
        self._worst = np.full(objectives, -np.inf)
        self._problem = Problem(
            n_var=len(space.levels),
            n_obj=objectives,
            n_ieq_constr=1,
            xl=np.zeros(len(space.levels), dtype=int),
            xu=np.array(space.levels) - 1,
            vtype=int,
        )
        self._nsga2 = NSGA2(
            pop_size=population,
            sampling=np.array(space.seeds()[:population]),
            crossover=GenomeCrossover(space),
            mutation=GenomeMutation(space),
            repair=GenomeRepair(space.repaired),
            eliminate_duplicates=self,
        )
        self._nsga2.setup(self._problem, termination=NoTermination(), seed=seed)

    def decode(self, individual: Any) -> Recipe:
        """The recipe of a pymoo individual."""
        return self._decode(tuple(map(int, individual.X)))

    def do(self, population: Population, *others: Population) -> Population:
        """The individuals with a new recipe: not handed out, not in `others`, not earlier in `population`.

        The name and the arguments are pymoo's.
        """
        seen = {self.decode(one).digest for other in others for one in other}
        new = []
        for position, individual in enumerate(population):
            digest = self.decode(individual).digest
            if digest not in seen and digest not in self._handed_out:
                seen.add(digest)
                new.append(position)
        return population[np.array(new, dtype=int)]

    def ask(self) -> Population:
        """The next candidates: the space's seeds first, offspring later, and strangers where those are few.

        They are fewer than a population, or none, only where the space is searched through.
        """
        bred = self._nsga2.ask()
        if bred is None:  # no mating gave anything new, and pymoo takes this for its end
            bred = Population.empty()
            self._nsga2.termination.force_termination = False
        self._handed_out.update(self.decode(individual).digest for individual in bred)
        random_genomes = self._new_random_genomes(self._size - len(bred))
        return Population.merge(bred, Population.new(X=np.array(random_genomes))) if random_genomes else bred

    def tell(self, told: Sequence[Any], scores: Sequence[tuple[float, ...] | None]) -> None:
        """Give NSGA-II the scores of what was asked, None for a failed candidate; earlier ones may be told anew.

        Failures get the worst scores seen so far and a violated constraint: NaN would survive selection.
        """
        costs = [None if row is None else -np.array(row) for row in scores]
        self._worst = np.max([self._worst, *(row for row in costs if row is not None)], axis=0)
        worst = np.where(np.isfinite(self._worst), self._worst, 0.0)
        answers = StaticProblem(
            self._problem,
            F=np.array([worst if row is None else row for row in costs]),
            G=np.array([[float(row is None)] for row in costs]),
        )
        individuals = Population.create(*told)
        for individual in individuals:
            individual.evaluated.clear()  # or pymoo would keep what it was told of it first
        self._nsga2.evaluator.eval(answers, individuals)
        living = set(map(id, self._nsga2.pop if self._nsga2.pop is not None else ()))
        self._nsga2.tell(infills=Population.create(*(one for one in told if id(one) not in living)))

    @property
    def exhausted(self) -> str:
        """Why there is nothing to ask, in words."""
        if self._space.size <= _PATIENCE:
            return f"all {len(self._handed_out)} recipes of the space are scored"
        return f"no new recipe in {_PATIENCE} draws: the space is all but searched through"

    def _decode(self, genome: Genome) -> Recipe:
        if genome not in self._recipes:
            self._recipes[genome] = self._space.decode(genome)
        return self._recipes[genome]

    def _new_random_genomes(self, count: int) -> list[Genome]:
        """Up to `count` random genomes whose recipes are new; from now on they are handed out."""
        found: list[Genome] = []
        misses = 0
        while len(found) < count and misses < _PATIENCE:
            genome = next(self._random_genomes, None)
            if genome is None:
                break
            digest = self._decode(genome).digest
            if digest in self._handed_out:
                misses += 1
            else:
                self._handed_out.add(digest)
                found.append(genome)
        return found


def _draws(space: SearchSpace, random: np.random.Generator) -> Iterator[Genome]:
    """Random genomes: for a small space each once, else without end."""
    if space.size > _PATIENCE:
        return space.random_genomes(random)
    genomes = list(product(*map(range, space.levels)))
    return (space.repaired(genomes[position]) for position in random.permutation(len(genomes)))
