"""Where the candidates of a search come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pymoo.core.population import Population

from merging.evolution.journal import AskedBatch, Journal
from merging.evolution.optimizer import Individual, Optimizer, genome_of
from merging.evolution.outcomes import Outcome
from merging.evolution.surrogate.foresight import Foresight
from merging.spaces.space import Genome, SearchSpace

EXPLORED = 0.1
"""Share of a generation, rounded up, that no model chooses: by turns random genomes and plain offspring. Whatever the
model believes, every recipe can be found."""


class CandidateSource:
    """Where candidates come from: the journal, else the model of the scores, and NSGA-II for the rest."""

    def __init__(
        self,
        space: SearchSpace,
        optimizer: Optimizer,
        population: int,
        foresight: Foresight | None,
        journal: Journal,
    ) -> None:
        self._space, self._population = space, population
        self._foresight, self._journal = foresight, journal
        self.optimizer = optimizer
        self._has_told = False

    def ask(self, generation: int, reference: Sequence[float] | None) -> list[Individual]:
        """The candidates of a generation: a population, fewer only once the space is searched through.

        reference: the point above which hypervolume counts, once it is known.
        """
        kept = self._journal.asked(generation)
        if kept is not None and kept.is_of(self._space) and all(map(self.optimizer.is_new, kept.genomes)):
            return self._ask_again(kept, generation)
        chosen = self._choose(generation, reference)
        batch = [*self.optimizer.take(chosen), *self._ask_rest(len(chosen), generation)]
        recipes = tuple(self.optimizer.decode(one).digest for one in batch)
        self._journal.record(generation, AskedBatch(tuple(map(genome_of, batch)), recipes, len(chosen)))
        return batch

    def _ask_again(self, kept: AskedBatch, generation: int) -> list[Individual]:
        """What is in the record. NSGA-II is asked as it was then, so that its later draws are the same."""
        first, rest = kept.genomes[: kept.chosen], kept.genomes[kept.chosen :]
        taken, others = self.optimizer.take(first), self._ask_rest(kept.chosen, generation)
        if tuple(map(genome_of, others)) != rest:  # another processor, or another version
            self.optimizer.put_back(others)
            others = self.optimizer.take(rest)
        return [*taken, *others]

    def _choose(self, generation: int, reference: Sequence[float] | None) -> list[Genome]:
        """What the model chooses; the first population is the same with and without one."""
        if self._foresight is None or reference is None or not self._has_told:
            return []
        wanted = self._population - math.ceil(self._population * EXPLORED)
        return self._foresight.choose(wanted, generation, reference, self.optimizer.is_new)

    def _ask_rest(self, chosen: int, generation: int) -> Population:
        """Offspring and random genomes. chosen: number of candidates that the model has chosen."""
        count = self._population - chosen
        strangers = (count + generation % 2) // 2 if chosen else 0
        return self.optimizer.ask(count, min(strangers, math.ceil(self._population * EXPLORED)))

    def tell(self, answered: list[Individual], outcomes: Sequence[Outcome]) -> None:
        """Give the outcomes of candidates to the model and to NSGA-II."""
        self._has_told = True
        if self._foresight is not None:
            self._foresight.tell([*map(genome_of, answered)], outcomes)
        self.optimizer.tell(answered, [outcome.objectives for outcome in outcomes])
