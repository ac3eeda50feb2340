"""The searches that are compared, by the names that tables give them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.landscapes.arms import Arm, chance, cma_es, evolution, several_weightings, the_mean
from benchmarks.landscapes.raced import race

PLAIN, ASSISTED = "plain", "assisted"

RACED: Mapping[str, Arm] = {"plain, raced": race(surrogate=False), "assisted, raced": race(surrogate=True)}
"""They need items with ids: merges of models."""

SHRUNKEN = (PLAIN, ASSISTED)
"""Searches whose fronts are chosen with shrinkage as well."""

ARMS: Mapping[str, Arm] = {
    PLAIN: evolution(surrogate=False),
    ASSISTED: evolution(surrogate=True),
    "CMA-ES, mean": cma_es(the_mean),
    "CMA-ES, weights": cma_es(several_weightings),
    "random": chance,
    **RACED,
}
