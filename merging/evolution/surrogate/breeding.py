"""NSGA-II on modelled scores: offspring of many generations, none of which was scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.problems.static import StaticProblem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from merging.evolution.operators import GenomeCrossover, GenomeMutation, GenomeRepair
from merging.spaces.space import Genome, SearchSpace

Array = NDArray[np.float64]

Model = Callable[[Sequence[Genome]], Array]
"""Modelled scores (genomes × objectives) of genomes; higher is better."""

GENERATIONS, OFFSPRING = 15, 60

MATINGS = 5
"""How often a generation mates at most until it has all of its offspring: nearly all may be known already."""


def breed(
    space: SearchSpace, parents: Sequence[Genome], model: Model, canonical: Callable[[Sequence[int]], Genome], seed: int
) -> dict[Genome, Array]:
    """The parents and all their descendants of some generations, each once, with their modelled scores.

    canonical: one genome for all that mean the same recipe.
    """
    problem = Problem(
        n_var=len(space.levels),
        n_obj=model(parents[:1]).shape[1],
        xl=np.zeros(len(space.levels), dtype=int),
        xu=np.array(space.levels) - 1,
        vtype=int,
    )
    nsga2 = NSGA2(
        pop_size=len(parents),
        n_offsprings=OFFSPRING,
        sampling=np.array(parents),
        crossover=GenomeCrossover(space),
        mutation=GenomeMutation(space),
        repair=GenomeRepair(lambda genome: canonical(space.repaired(genome))),
    )
    nsga2.mating.n_max_iterations = MATINGS
    nsga2.setup(problem, termination=NoTermination(), seed=seed)
    found: dict[Genome, Array] = {}
    for _ in range(GENERATIONS + 1):
        offspring = nsga2.ask()
        if offspring is None:  # there are no others
            break
        genomes = [tuple(map(int, one.X)) for one in offspring]
        scores = model(genomes)
        found |= dict(zip(genomes, scores, strict=True))
        nsga2.evaluator.eval(StaticProblem(problem, F=-scores), offspring)  # pymoo minimises
        nsga2.tell(infills=offspring)
    return found


def best_ranks(scores: Array, count: int) -> list[int]:
    """The indices of `count` rows of scores, those of the first nondominated fronts, in the order of the rows."""
    fronts = NonDominatedSorting().do(-scores, n_stop_if_ranked=count)
    return sorted([int(index) for front in fronts for index in front][:count])
