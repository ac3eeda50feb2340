"""Searches with the bot's race, on the items of a landscape's models."""

from __future__ import annotations

from benchmarks.landscapes.arms import Arm, Step
from benchmarks.landscapes.landscape import Landscape
from benchmarks.racing import Recalled, search_space
from bot.watchlist.sections import RacingSection
from evaluation.splits import Split


def race(**settings: object) -> Arm:
    """The bot's search with a race. settings: further ones of a watchlist's `search`."""

    def search(landscape: Landscape, seed: int, budget: int) -> list[Step]:
        assert landscape.zoo is not None  # a race needs items with ids, and rounds of them
        watchlist = landscape.zoo.watchlist
        budgeted = watchlist.search.budget.model_copy(update={"candidates": budget})
        chosen = {"seed": seed, "budget": budgeted, "racing": RacingSection(), **settings}
        watchlist = watchlist.model_copy(update={"search": watchlist.search.model_copy(update=chosen)})
        evaluator = Recalled(lambda recipe: landscape.answers(recipe, Split.SEARCH), landscape.zoo.search_items, None)
        steps, spent = [], 0
        for generation, total in search_space(landscape.space, watchlist, evaluator):
            steps.append(Step(total.items - spent, tuple(one.recipe for one in generation.front)))
            spent = total.items
        return steps

    return search
