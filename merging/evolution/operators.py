"""NSGA-II's crossover and mutation for genomes of two kinds of genes: numbers on a grid, and choices without an order.

Numbers go the usual way of real ones, simulated binary crossover and polynomial mutation (Deb & Agrawal 1995), and are
rounded once, after both; their small eta makes steps of several grid points, for a step below one half is none.
Choices are exchanged in runs, as neighbours belong together (layers of one model), and mutate as their space has them
edited. A number that means something only under a choice goes with it: it is exchanged with the choice, blended where
both parents have made the choice, and mutates only where it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import mut_pm

from merging.spaces.space import Genome, SearchSpace

CHANGES = 1.0
"""Edits of a genome's choices in a mutation, on average."""

ETA = 3
"""Of both operators on numbers: the smaller, the longer their steps."""


class GenomeCrossover(Crossover):  # type: ignore[misc]  # pymoo is untyped
    """Simulated binary crossover of the numbers, two-point crossover of the choices and of what goes with them."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(2, 2, prob=0.9, vtype=float)
        self._genes = Genes(space)
        self._by_number, self._by_run = SBX(prob=0.9, eta=ETA, vtype=float), TwoPointCrossover()

    def _do(self, problem: Problem, X: Any, *_: Any, random_state: Any = None, **kwargs: Any) -> Any:  # noqa: N803
        genes, children = self._genes, X.copy()
        if len(genes.numbers):
            part, numbers = _part(problem, genes.numbers), X[..., genes.numbers]
            blended = self._by_number._do(part, numbers, random_state=random_state, **kwargs)
            children[..., genes.numbers] = np.where(genes.counting(X).all(axis=0), blended, numbers)
        if len(genes.choices):
            parents = np.zeros((2, X.shape[1], len(genes.choices)), dtype=int)
            parents[1] = 1
            crossed = self._by_run._do(problem, parents, random_state=random_state)[0] == 1
            exchanged = np.zeros(X.shape[1:], dtype=bool)
            exchanged[:, genes.choices] = crossed
            exchanged[:, genes.switched] = exchanged[:, genes.switching]
            children = np.where(exchanged, children[::-1], children)
        return children


class GenomeMutation(Mutation):  # type: ignore[misc]
    """The space's edits of the choices, then polynomial mutation of about one of the numbers that count."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(prob=1.0, vtype=float)
        self._space, self._genes = space, Genes(space)

    def _do(self, problem: Problem, X: Any, *_: Any, random_state: Any = None, **__: Any) -> Any:  # noqa: N803
        genes, mutated = self._genes, np.array(X, dtype=float)
        if len(genes.choices):
            mutated = np.array([self._edited(row, random_state) for row in mutated.tolist()])
        if len(genes.numbers):
            part, numbers = _part(problem, genes.numbers), mutated[:, genes.numbers]
            counting = genes.counting(mutated)
            rate = np.minimum(0.5, 1 / np.maximum(counting.sum(axis=1), 1))
            eta = np.full(len(X), float(ETA))
            moved = mut_pm(numbers, part.xl, part.xu, eta, rate, at_least_once=False, random_state=random_state)
            mutated[:, genes.numbers] = np.where(counting, moved, numbers)
        return mutated

    def _edited(self, genome: Sequence[float], random: np.random.Generator) -> Sequence[float]:
        for _ in range(random.poisson(CHANGES)):
            genome = self._space.edited(genome, random)
        return genome


class GenomeRepair(Repair):  # type: ignore[misc]
    """Rounds the numbers, and makes genomes of the space of what is none."""

    def __init__(self, repaired: Callable[[Sequence[int]], Genome]) -> None:
        super().__init__(vtype=float)
        self._repaired = repaired

    def _do(self, _problem: Problem, X: Any, **_: Any) -> Any:  # noqa: N803
        return np.array([self._repaired(row) for row in np.around(X).astype(int).tolist()])


class Genes:
    """The columns of a space's genomes: choices, numbers, and numbers that are switched by a choice."""

    def __init__(self, space: SearchSpace) -> None:
        self.choices = np.array(space.choices, dtype=int)
        self.numbers = np.setdiff1d(np.arange(len(space.levels)), self.choices)
        self.switched = np.array(list(space.switches), dtype=int)
        self.switching = np.array(list(space.switches.values()), dtype=int)

    def counting(self, genomes: Any) -> Any:
        """Which of the numbers mean something, in each of the genomes."""
        counting = np.ones(genomes.shape, dtype=bool)
        counting[..., self.switched] = genomes[..., self.switching] == 1
        return counting[..., self.numbers]


def _part(problem: Problem, columns: Any) -> Problem:
    """The problem of some genes alone."""
    return Problem(n_var=len(columns), n_obj=problem.n_obj, xl=problem.xl[columns], xu=problem.xu[columns])
