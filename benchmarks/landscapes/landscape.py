"""A landscape: a space of merges, and what each merge scores on the items of a search and on items held out from it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.landscapes.kept_scores import KeptScores
from benchmarks.landscapes.scorer import FastScorer, ItemAnswers
from benchmarks.landscapes.zoos import Zoo
from bot.watchlist.sections import GroupsSection
from evaluation.splits import Split
from merging.recipes.recipe import Recipe
from merging.spaces.space import MergeSpace

Point = tuple[float, ...]


class Landscape(Protocol):
    """What a search is given, and what it is judged by."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def space(self) -> MergeSpace:
        """What is searched."""

    @property
    def skills(self) -> int:
        """Number of scores; all are rates."""

    @property
    def items(self) -> int:
        """Items of the search split, of all skills."""

    @property
    def zoo(self) -> Zoo | None:
        """The models that are merged; None where there are none."""

    def answers(self, recipe: Recipe, split: Split) -> ItemAnswers:
        """Right or wrong for every item, one skill after the other."""

    def score(self, recipe: Recipe, split: Split) -> Point:
        """The rate of right answers in each skill."""


class ZooLandscape:
    """Merges of a zoo's models, scored exactly; every result is kept."""

    def __init__(self, zoo: Zoo, kept: Path, groups: GroupsSection | None = None) -> None:
        """kept: file of results. groups: instead of the zoo's own."""
        self._zoo = zoo
        self._groups = groups or zoo.watchlist.search.groups
        self._kept = KeptScores(kept)
        self._scorer = FastScorer(zoo.spec)

    @property
    def zoo(self) -> Zoo:
        """The models that are merged."""
        return self._zoo

    @property
    def name(self) -> str:
        """The zoo's."""
        return self._zoo.name

    @cached_property
    def space(self) -> MergeSpace:
        """Merges by the zoo's method, a gene for each source and group."""
        return self._zoo.space(self._groups)

    @property
    def skills(self) -> int:
        """Each of one task."""
        return len(self._zoo.watchlist.skills)

    @property
    def items(self) -> int:
        """Of the search split."""
        return len(self._scorer.skills(Split.SEARCH))

    def answers(self, recipe: Recipe, split: Split) -> ItemAnswers:
        """Right or wrong for every item, in the order of the evaluation set."""
        eval_set = self._scorer.digest(split)
        found = self._kept.find(eval_set, recipe.digest)
        if found is None:
            found = self._scorer(recipe, split)
            self._kept.keep(eval_set, recipe.digest, found)
        return found

    def score(self, recipe: Recipe, split: Split) -> Point:
        """The rate of right answers in each skill."""
        answers, skills = self.answers(recipe, split), self._scorer.skills(split)
        return tuple(float(np.mean(answers[skills == skill])) for skill in range(self.skills))
