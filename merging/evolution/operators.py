"""NSGA-II's crossover and mutation for genomes of two kinds of genes: numbers on a grid, and choices without an order.

Numbers vary by simulated binary crossover and polynomial mutation (Deb & Agrawal 1995), and are rounded once, after
both. Choices are exchanged in runs, because neighbours belong together (layers of one model), and mutate by the space's
own edits. A number that means something only under a choice follows it: it is exchanged with the choice, blended where
both parents have made the choice, and mutates only where the choice is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import mut_pm

from merging.spaces.space import Genome, SearchSpace

Genomes = NDArray[np.float64]
"""Genomes as pymoo has them, one in each row of the last two dimensions."""

MEAN_EDITS = 1.0
"""Average number of edits that a mutation makes to a genome's choices."""

ETA = 3
"""Distribution index of both operators on numbers. Small, because steps below half a grid step change nothing."""


class GenomeCrossover(Crossover):  # type: ignore[misc]  # pymoo is untyped
    """Simulated binary crossover of the numbers, two-point crossover of the choices and of what follows them."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(2, 2, prob=0.9, vtype=float)
        self._columns = GeneColumns(space)
        self._by_number, self._by_run = SBX(prob=0.9, eta=ETA, vtype=float), TwoPointCrossover()

    def _do(self, problem: Problem, X: Genomes, *_: Any, random_state: Any = None, **kwargs: Any) -> Genomes:  # noqa: N803
        """The children of pairs of parents. X: (2, pairs, genes)."""
        columns, children = self._columns, X.copy()
        if len(columns.numbers):
            restricted, numbers = _restrict(problem, columns.numbers), X[..., columns.numbers]
            blended = self._by_number._do(restricted, numbers, random_state=random_state, **kwargs)
            # A number that means nothing in one of the parents has nothing to be blended with.
            children[..., columns.numbers] = np.where(columns.are_active(X).all(axis=0), blended, numbers)
        if len(columns.choices):
            # pymoo exchanges runs of whatever it is given: zeros and ones show which genes it would exchange.
            parents = np.zeros((2, X.shape[1], len(columns.choices)), dtype=int)
            parents[1] = 1
            crossed = self._by_run._do(problem, parents, random_state=random_state)[0] == 1
            exchanged = np.zeros(X.shape[1:], dtype=bool)
            exchanged[:, columns.choices] = crossed
            exchanged[:, columns.switched] = exchanged[:, columns.switches]
            children = np.where(exchanged, children[::-1], children)
        return children


class GenomeMutation(Mutation):  # type: ignore[misc]
    """The space's edits of the choices, then polynomial mutation of about one of the numbers that mean something."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(prob=1.0, vtype=float)
        self._space, self._columns = space, GeneColumns(space)

    def _do(self, problem: Problem, X: Genomes, *_: Any, random_state: Any = None, **__: Any) -> Genomes:  # noqa: N803
        """The mutated genomes. X: (genomes, genes)."""
        columns, mutated = self._columns, np.array(X, dtype=float)
        if len(columns.choices):
            mutated = np.array([self._edit(row, random_state) for row in mutated.tolist()])
        if len(columns.numbers):
            restricted, numbers = _restrict(problem, columns.numbers), mutated[:, columns.numbers]
            active = columns.are_active(mutated)
            # One number on average, but never more than half of them.
            rate = np.minimum(0.5, 1 / np.maximum(active.sum(axis=1), 1))
            eta = np.full(len(X), float(ETA))
            moved = mut_pm(
                numbers, restricted.xl, restricted.xu, eta, rate, at_least_once=False, random_state=random_state
            )
            mutated[:, columns.numbers] = np.where(active, moved, numbers)
        return mutated

    def _edit(self, genome: Sequence[float], random: np.random.Generator) -> Sequence[float]:
        for _ in range(random.poisson(MEAN_EDITS)):
            genome = self._space.edited(genome, random)
        return genome


class GenomeRepair(Repair):  # type: ignore[misc]
    """Rounds the numbers, and repairs what is not a genome of the space."""

    def __init__(self, repaired: Callable[[Sequence[int]], Genome]) -> None:
        super().__init__(vtype=float)
        self._repaired = repaired

    def _do(self, _problem: Problem, X: Genomes, **_: Any) -> NDArray[np.intp]:  # noqa: N803
        return np.array([self._repaired(row) for row in np.around(X).astype(int).tolist()])


class GeneColumns:
    """The columns of a space's genomes.

    choices, numbers: columns of either kind of gene.
    switched, switches: columns of the numbers that mean something only under a choice, and of their choices.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.choices = np.array(space.choices, dtype=int)
        self.numbers = np.setdiff1d(np.arange(len(space.levels)), self.choices)
        self.switched = np.array(list(space.switches), dtype=int)
        self.switches = np.array(list(space.switches.values()), dtype=int)

    def are_active(self, genomes: Genomes) -> NDArray[np.bool_]:
        """Flags of the numbers that mean something in each genome. genomes: (..., genes); returns (..., numbers)."""
        active = np.ones(genomes.shape, dtype=bool)
        active[..., self.switched] = genomes[..., self.switches] == 1
        return active[..., self.numbers]


def _restrict(problem: Problem, columns: NDArray[np.intp]) -> Problem:
    """The problem with only some of its genes."""
    return Problem(n_var=len(columns), n_obj=problem.n_obj, xl=problem.xl[columns], xu=problem.xu[columns])
