"""NSGA-II's crossover and mutation for genomes of two kinds of genes: numbers on a grid, and choices without an order.

Numbers go the usual way of real ones, simulated binary crossover and polynomial mutation (Deb & Agrawal 1995), and are
rounded once, after both; their small eta makes steps of several grid points, for a step below one half is none.
Choices are exchanged in runs, as neighbours belong together (layers of one model), and mutate to any other value.
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
from pymoo.operators.mutation.pm import PM

from merging.space import Genome

CHANGES = 1.5
"""Choices that mutate in a genome, on average."""


class Crossing(Crossover):  # type: ignore[misc]  # pymoo is untyped
    """Simulated binary crossover of the numbers, two-point crossover of the choices."""

    def __init__(self, problem: Problem, choices: Sequence[int]) -> None:
        super().__init__(2, 2, prob=0.9, vtype=float)
        self._choices, self._numbers = _columns(problem, choices)
        self._by_number, self._by_run = SBX(prob=0.9, eta=3, vtype=float), TwoPointCrossover()

    def _do(self, problem: Problem, X: Any, *_: Any, random_state: Any = None, **kwargs: Any) -> Any:  # noqa: N803
        children = X.copy()
        for columns, operator in ((self._numbers, self._by_number), (self._choices, self._by_run)):
            if len(columns):
                part = _part(problem, columns)
                children[..., columns] = operator._do(part, X[..., columns], random_state=random_state, **kwargs)
        return children


class Mutating(Mutation):  # type: ignore[misc]
    """Polynomial mutation of the numbers, another value at random for some choices."""

    def __init__(self, problem: Problem, choices: Sequence[int]) -> None:
        super().__init__(prob=1.0, vtype=float)
        self._choices, self._numbers = _columns(problem, choices)
        self._by_number = PM(prob=1.0, eta=3, vtype=float)

    def _do(self, problem: Problem, X: Any, *_: Any, random_state: Any = None, **kwargs: Any) -> Any:  # noqa: N803
        mutated = np.array(X, dtype=float)
        if len(self._numbers):
            part = _part(problem, self._numbers)
            numbers = mutated[:, self._numbers]
            mutated[:, self._numbers] = self._by_number._do(part, numbers, random_state=random_state, **kwargs)
        if len(self._choices):
            levels = (problem.xu[self._choices] + 1).astype(int)
            changed = random_state.random((len(X), len(levels))) < CHANGES / len(levels)
            shift = random_state.integers(1, np.maximum(levels, 2), size=changed.shape)
            now = mutated[:, self._choices]
            mutated[:, self._choices] = np.where(changed, (now + shift) % levels, now)
        return mutated


class Mending(Repair):  # type: ignore[misc]
    """Rounds the numbers, and makes genomes of the space of what is none."""

    def __init__(self, repaired: Callable[[Sequence[int]], Genome]) -> None:
        super().__init__(vtype=float)
        self._repaired = repaired

    def _do(self, _problem: Problem, X: Any, **_: Any) -> Any:  # noqa: N803
        return np.array([self._repaired(row) for row in np.around(X).astype(int).tolist()])


def _columns(problem: Problem, choices: Sequence[int]) -> tuple[Any, Any]:
    """The genes that are choices, and those that are numbers."""
    chosen = np.array(choices, dtype=int)
    return chosen, np.setdiff1d(np.arange(problem.n_var), chosen)


def _part(problem: Problem, columns: Any) -> Problem:
    """The problem of some genes alone."""
    return Problem(n_var=len(columns), n_obj=problem.n_obj, xl=problem.xl[columns], xu=problem.xu[columns])
