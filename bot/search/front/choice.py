"""The choice of a cycle's front: by its scores, or with shrinkage where there is a model of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from bot.search.results import FrontChoice, ModelledRecipe
from bot.search.strategies.strategy import SearchStrategy
from merging.evolution.outcomes import SearchResult, SearchSettings

PLACES = 9
"""Decimal places of the scores that a choice is bound to: last bits are no other scores."""


def choose_front(
    found: SearchResult, strategy: SearchStrategy, settings: SearchSettings, kept: Sequence[FrontChoice | None]
) -> FrontChoice | None:
    """Choose the front of a finished search by a model of its scores; None for the front that it has.

    settings: those of the search; without its surrogate there is no model. kept: earlier choices, of this cycle and of
    those whose search it repeats: the first that was made among the same scores stands, whatever the last bits of a
    model are on another processor.

    Searches among paths, and those with a cost as an objective, keep the front that they have: what a model would gain
    there has not been measured.
    """
    from merging.evolution.shrinkage import shrink_front

    if not settings.surrogate or strategy.first_space is not strategy.weight_merges or strategy.staged or strategy.cost:
        return None
    among = _digest(found)
    stands = next((one for one in kept if one is not None and one.among == among), None)
    if stands is not None:
        return stands
    shrunk = shrink_front(strategy.weight_merges, found.scored, settings.population)
    if shrunk is None:
        return None
    described = [
        (one, ModelledRecipe(one.scored.recipe.digest, one.scored.point, one.expected))
        for one in shrunk
        if one.chosen != one.measured_best
    ]
    return FrontChoice(
        among=among,
        members=tuple(one.scored.recipe.digest for one in shrunk if one.chosen),
        put_in=tuple(recipe for one, recipe in described if one.chosen),
        left_out=tuple(recipe for one, recipe in described if not one.chosen),
    )


def with_front(found: SearchResult, choice: FrontChoice) -> SearchResult:
    """A search with the front that was chosen."""
    scored = {one.recipe.digest: one for one in found.scored}
    return replace(found, front=tuple(scored[digest] for digest in choice.members))


def _digest(found: SearchResult) -> str:
    """Digest of the scores that a front is chosen from.

    Estimates have the last bits of the processor that made them, so of these it has the recipes alone; they follow from
    the scores. Measured scores are sums, which are rounded.
    """
    values = [
        [one.recipe.digest, [round(score, PLACES) for score in one.point] if one.outcome.is_measured else None]
        for one in found.scored
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
