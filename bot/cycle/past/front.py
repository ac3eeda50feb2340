"""The members of a past cycle's front, with the names by which a person asks for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.errors import ShoalError
from bot.ledger.ledger import Ledger
from bot.search.results import GateResult

SHORTEST_PREFIX = 6
"""Fewest characters of a digest that name a recipe; fewer may be a number."""


@dataclass(frozen=True)
class FrontMember:
    """A front member. number: its place on the front, from 1. recipe: its digest. search: scores on that split.

    gate: the gate's result with the validation scores; None if the cycle did not come so far.
    """

    number: int
    recipe: str
    search: tuple[float, ...]
    gate: GateResult | None


def number_front(
    front: Sequence[tuple[str, tuple[float, ...]]], gate_results: Sequence[GateResult]
) -> tuple[FrontMember, ...]:
    """Number a cycle's front. front: recipe digests with search scores, as the ledger has them."""
    results = {result.recipe: result for result in gate_results}
    scores = dict(front)
    recipes = (*scores, *(recipe for recipe in results if recipe not in scores))
    return tuple(
        FrontMember(number, recipe, scores.get(recipe, ()), results.get(recipe))
        for number, recipe in enumerate(recipes, 1)
    )


def front_members(ledger: Ledger, cycle: str) -> tuple[FrontMember, ...]:
    """The front of a cycle; ShoalError if there is no such cycle."""
    entry = ledger.cycle(cycle)
    return number_front(ledger.front(entry.id), ledger.kept(cycle, "gate", tuple[GateResult, ...]) or ())


def find_member(members: Sequence[FrontMember], cycle: str, name: str) -> FrontMember:
    """The one member with this number, or whose recipe's digest begins so.

    Raises:
        ShoalError: there is none, or more than one.
    """
    if not members:
        raise ShoalError(f"cycle {cycle}: has no front yet; run its watchlist")
    found = [
        member
        for member in members
        if name == str(member.number) or (len(name) >= SHORTEST_PREFIX and member.recipe.startswith(name.lower()))
    ]
    if len(found) != 1:
        raise ShoalError(
            f"RECIPE: got {name!r}: names {len(found) or 'none'} of the {len(members)} front members; write a number "
            f"up to {len(members)}, or at least {SHORTEST_PREFIX} characters of a digest, as `shoal show` lists them"
        )
    return found[0]
