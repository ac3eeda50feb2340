"""A landscape by a formula: 104 genes, of which few matter, three skills with optima of their own, and luck of items.

Genome w (weights, scaled to 0 to 1) has in skill s the ability

    a_s(w) = TOP - STEEPNESS · Σ_g v_sg (w_g - o_sg)²,   Σ_g v_sg = 1,

where the importances v are log-normal, so that a few genes decide, and the optima o of different skills agree in part.
It answers item i rightly where a_s(w) + h_i + LUCK · d_i·(w - ½) > 0: h_i is the item's ease, standard normal, and d_i
has a normal number for each gene, so that merges that are alike answer alike. Other items are another draw.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.landscapes.landscape import Point
from benchmarks.landscapes.scorer import ItemAnswers
from evaluation.splits import Split
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.spaces.weight_merges import WeightMergeSpace

SOURCES, LAYERS, SKILLS = 4, 12, 3
TOP, STEEPNESS, LUCK = 1.5, 12.0, 0.15
UNEVENNESS = 1.5
"""Standard deviation of an importance's logarithm."""

AGREEMENT = 0.5
"""Share of a skill's optimum that all skills have in common."""

ITEMS = {Split.SEARCH: 200, Split.VALIDATION: 400, Split.REPORT: 1000}
"""Of each skill."""


class FormulaLandscape:
    """Scored in microseconds, the same everywhere."""

    name = "formula"
    skills = SKILLS
    zoo = None

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        genes, random = len(self.space.levels), np.random.default_rng([seed, 0])
        importances = np.exp(UNEVENNESS * random.standard_normal((SKILLS, genes)))
        self._importances = importances / importances.sum(axis=1, keepdims=True)
        own, common = random.random((SKILLS, genes)), random.random(genes)
        self._optima = AGREEMENT * common + (1 - AGREEMENT) * own
        self._items: dict[Split, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    @cached_property
    def space(self) -> WeightMergeSpace:
        """A gene for each source, layer and module, and for both ends."""
        sources = [ModelId(f"formula/source-{number}", "0" * 40) for number in range(SOURCES)]
        return WeightMergeSpace.build(
            method="task_arithmetic",
            sources=sources,
            base=ModelId("formula/base", "0" * 40),
            groups=Partition.even(LAYERS, LAYERS, modules_apart=True, ends_apart=True),
            dtype="float32",
            seed=0,
        )

    @property
    def items(self) -> int:
        """Of the search split."""
        return SKILLS * ITEMS[Split.SEARCH]

    def score(self, recipe: Recipe, split: Split) -> Point:
        """The rate of right answers in each skill."""
        return tuple(map(float, self.answers(recipe, split).reshape(SKILLS, -1).mean(axis=1)))

    def answers(self, recipe: Recipe, split: Split) -> ItemAnswers:
        """Right or wrong for every item, one skill after the other."""
        genome = self.space.encode(recipe)
        assert genome is not None
        scaled = np.array(genome) / (np.array(self.space.levels) - 1)
        abilities = TOP - STEEPNESS * (self._importances * (scaled - self._optima) ** 2).sum(axis=1)
        ease, directions = self._drawn(split)
        right: ItemAnswers = (abilities[:, None] + ease + LUCK * directions @ (scaled - 0.5) > 0).ravel()
        return right

    def _drawn(self, split: Split) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The items' eases (skills, items) and directions (skills, items, genes)."""
        if split not in self._items:
            random, count = np.random.default_rng([self._seed, 1, *map(ord, split)]), ITEMS[split]
            ease = random.standard_normal((SKILLS, count))
            self._items[split] = ease, random.standard_normal((SKILLS, count, len(self.space.levels)))
        return self._items[split]
