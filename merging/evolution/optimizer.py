"""pymoo's NSGA-II by ask and tell: ask for candidates that were never scored, tell their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, product
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem

from merging.evolution.operators import GenomeCrossover, GenomeMutation, GenomeRepair
from merging.recipes.recipe import Recipe
from merging.spaces.space import Genome, SearchSpace

Individual = Any
"""One of pymoo's individuals, which have no types."""

# After this many draws in a row of known recipes, a space counts as searched through. The genomes of spaces of
# at most this size are drawn once each instead, so that every recipe is certain to be found.
_PATIENCE = 2000


class Optimizer:
    """NSGA-II over genomes that asks for each recipe once, though many genomes may mean it.

    It is also the duplicate elimination that pymoo calls: two individuals are duplicates if their recipes are equal.
    """

    def __init__(
        self, space: SearchSpace, objectives: int, *, population: int, seed: int, carried: Sequence[Genome] = ()
    ) -> None:
        """carried: genomes of earlier recipes, which the first population has beside the space's seeds."""
        self._space = space
        self._recipes: dict[Genome, Recipe] = {}
        self._asked: set[str] = set()  # digests of the recipes that `ask` has given
        # pymoo draws from default_rng(seed): random genomes need another stream.
        self._random_genomes: Iterator[Genome] = _draw_genomes(space, np.random.default_rng([seed, 1]))
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
            sampling=np.array([*space.seeds()[: population - len(carried)], *carried]),
            crossover=GenomeCrossover(space),
            mutation=GenomeMutation(space),
            repair=GenomeRepair(space.repaired),
            eliminate_duplicates=self,
        )
        self._nsga2.setup(self._problem, termination=NoTermination(), seed=seed)

    def decode(self, individual: Individual) -> Recipe:
        """The recipe of a pymoo individual."""
        return self._decode(genome_of(individual))

    def do(self, population: Population, *others: Population) -> Population:
        """The individuals with a new recipe: never asked for, not in `others`, not earlier in `population`.

        The name and the arguments are pymoo's.
        """
        seen = {self.decode(one).digest for other in others for one in other}
        new = []
        for index, individual in enumerate(population):
            digest = self.decode(individual).digest
            if digest not in seen and digest not in self._asked:
                seen.add(digest)
                new.append(index)
        return population[np.array(new, dtype=int)]

    def ask(self, count: int, strangers: int = 0) -> Population:
        """The next candidates: first the space's seeds, later offspring; random genomes fill up to `count`.

        strangers: how many are random genomes at least, once the seeds are given. There are fewer candidates, or none,
        only once the space is searched through.
        """
        self._nsga2.n_offsprings = count - strangers
        offspring = self._nsga2.ask() if count > strangers else None
        if offspring is None:  # no mating gave a new recipe, which pymoo takes for the end of its search
            offspring = Population.empty()
            self._nsga2.termination.force_termination = False
        self._asked.update(self.decode(individual).digest for individual in offspring)
        genomes = self._new_random_genomes(count - len(offspring))
        return Population.merge(offspring, Population.new(X=np.array(genomes))) if genomes else offspring

    def take(self, genomes: Sequence[Genome]) -> Population:
        """Candidates that were chosen elsewhere, all of them new; from now on they were asked for."""
        self._asked.update(self._decode(genome).digest for genome in genomes)
        return Population.new(X=np.array(genomes)) if genomes else Population.empty()

    def put_back(self, individuals: Population) -> None:
        """Take back what was asked for last: it is new again."""
        self._asked.difference_update(self.decode(one).digest for one in individuals)
        self._random_genomes = chain([genome_of(one) for one in individuals], self._random_genomes)

    def is_new(self, genome: Genome) -> bool:
        """Whether the recipe of a genome was never asked for."""
        return self._space.decode(genome).digest not in self._asked

    def tell(self, answered: Sequence[Individual], scores: Sequence[tuple[float, ...] | None]) -> None:
        """Give NSGA-II the scores of individuals, None for a failed one; they may replace scores given earlier.

        Failures get the worst scores seen so far and a violated constraint: NaN would survive selection.
        """
        costs = [None if row is None else -np.array(row) for row in scores]  # pymoo minimises
        self._worst = np.max([self._worst, *(row for row in costs if row is not None)], axis=0)
        worst = np.where(np.isfinite(self._worst), self._worst, 0.0)
        answers = StaticProblem(
            self._problem,
            F=np.array([worst if row is None else row for row in costs]),
            G=np.array([[float(row is None)] for row in costs]),
        )
        individuals = Population.create(*answered)
        for individual in individuals:
            individual.evaluated.clear()  # pymoo would keep the scores that it was given first
        self._nsga2.evaluator.eval(answers, individuals)
        # Individuals that survived have their new scores already: merged in once more, they would be there twice.
        survivors = set(map(id, self._nsga2.pop if self._nsga2.pop is not None else ()))
        self._nsga2.tell(infills=Population.create(*(one for one in answered if id(one) not in survivors)))

    def describe_end(self) -> str:
        """The reason why there are no more candidates."""
        if self._space.size <= _PATIENCE:
            return f"all {len(self._asked)} recipes of the space are scored"
        return f"no new recipe in {_PATIENCE} draws: the space is all but searched through"

    def _decode(self, genome: Genome) -> Recipe:
        if genome not in self._recipes:
            self._recipes[genome] = self._space.decode(genome)
        return self._recipes[genome]

    def _new_random_genomes(self, count: int) -> list[Genome]:
        """Up to `count` random genomes whose recipes were never asked for; from now on they were."""
        found: list[Genome] = []
        misses = 0
        while len(found) < count and misses < _PATIENCE:
            genome = next(self._random_genomes, None)
            if genome is None:
                break
            digest = self._decode(genome).digest
            if digest in self._asked:
                misses += 1
            else:
                self._asked.add(digest)
                found.append(genome)
        return found


def genome_of(individual: Individual) -> Genome:
    """The genome of a pymoo individual."""
    return tuple(map(int, individual.X))


def _draw_genomes(space: SearchSpace, random: np.random.Generator) -> Iterator[Genome]:
    """Random genomes: each once for a small space, else without end."""
    if space.size > _PATIENCE:
        return space.random_genomes(random)
    genomes = list(product(*map(range, space.levels)))
    return (space.repaired(genomes[index]) for index in random.permutation(len(genomes)))
