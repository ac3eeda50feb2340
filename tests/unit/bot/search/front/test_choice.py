"""The choice of a front: kept with what it was made from, and none where there is no model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bot.search.front.choice import choose_front, with_front
from bot.search.strategies.paths import PathSearch
from bot.search.strategies.staged import StagedSearch
from bot.search.strategies.strategy import PathLayout
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.sections import DataflowSection
from merging.evolution.outcomes import Outcome, Scored, SearchResult, SearchSettings
from merging.evolution.pareto import nondominated
from merging.identity import ModelId
from merging.partition import Partition
from merging.spaces.weight_merges import WeightMergeSpace

SPACE = WeightMergeSpace.build(
    method="task_arithmetic",
    sources=[ModelId(f"org/{name}", "0" * 40) for name in ("math", "language")],
    base=ModelId("org/base", "f" * 40),
    groups=Partition.even(4, 2, modules_apart=False, ends_apart=False),
    dtype="float32",
    seed=0,
)
STRATEGY = WeightMergeSearch(SPACE)
SETTINGS = SearchSettings(population=12, candidates=200, minutes=None, seed=0, surrogate=True)


def searched(count: int = 90) -> SearchResult:
    """A search whose scores are a trade between the genes, and noise."""
    random, draw = np.random.default_rng(2), SPACE.random_genomes(np.random.default_rng(4))
    genomes = {SPACE.decode(genome).digest: genome for genome, _ in zip(draw, range(count), strict=False)}
    scored = []
    for genome in genomes.values():
        levels = np.array(genome) / 30
        rates = [0.2 + 0.6 * np.exp(-2 * ((levels - middle) ** 2).sum()) for middle in (0.4, 0.6)]
        scores = tuple(float(random.binomial(60, rate) / 60) for rate in rates)
        scored.append(Scored(SPACE.decode(genome), Outcome(scores, None, 1.0), 0))
    front = tuple(scored[index] for index in nondominated([one.point for one in scored]))
    return SearchResult(tuple(scored), front, (), "the budget is spent", (0.0, 0.0))


def test_it_says_who_was_put_in_and_left_out_of_the_front_that_scores_alone_give() -> None:
    found = searched()
    choice = choose_front(found, STRATEGY, SETTINGS, ())
    assert choice is not None
    measured = {one.recipe.digest for one in found.front}
    assert {one.recipe for one in choice.put_in} == set(choice.members) - measured != set()
    assert {one.recipe for one in choice.left_out} == measured - set(choice.members) != set()
    scores = {one.recipe.digest: one.point for one in found.scored}
    assert all(one.scores == scores[one.recipe] != one.expected for one in (*choice.put_in, *choice.left_out))
    assert f"{len(choice.put_in)} of {len(choice.members)} members are put in" in choice.describe()
    assert replace(choice, put_in=(), left_out=()).describe().endswith("the one that the measured scores give")
    chosen = with_front(found, choice)
    assert tuple(one.recipe.digest for one in chosen.front) == choice.members and chosen.scored == found.scored
    assert [one.point[0] for one in chosen.front] == sorted((one.point[0] for one in chosen.front), reverse=True)


def test_a_kept_choice_stands_for_the_scores_that_it_was_made_from_and_for_no_others() -> None:
    found = searched()
    choice = choose_front(found, STRATEGY, SETTINGS, ())
    assert choice is not None
    elsewhere = replace(choice, members=choice.members[:1])  # as another processor may have chosen
    assert choose_front(found, STRATEGY, SETTINGS, (None, replace(elsewhere, among=""), elsewhere, choice)) == elsewhere
    first, *others = found.scored
    # Nor are last bits of scores and estimates others, as another processor may have them.
    doubtful = replace(first.outcome, objectives=(0.1, 0.2), estimated=True)
    guessed = replace(found, scored=(replace(first, outcome=doubtful), *others))
    choice = choose_front(guessed, STRATEGY, SETTINGS, ())
    assert choice is not None
    bits = [
        replace(one, outcome=replace(one.outcome, objectives=tuple(s + 1e-15 for s in one.point))) for one in others
    ]
    shaken = replace(first, outcome=replace(doubtful, objectives=(0.1 + 1e-15, 0.2 - 1e-15)))
    kept = replace(choice, members=choice.members[:1])
    assert choose_front(replace(found, scored=(shaken, *bits)), STRATEGY, SETTINGS, (kept,)) == kept
    changed = replace(found, scored=(replace(first, outcome=replace(first.outcome, objectives=(0.9, 0.9))), *others))
    again = choose_front(changed, STRATEGY, SETTINGS, (elsewhere,))
    assert again is not None and again.among != elsewhere.among
    # It is far above what its neighbours let expect, and above everything else: no model is a reason to drop it.
    assert first.recipe.digest in again.members


def test_searches_among_paths_and_short_ones_keep_the_front_of_their_scores() -> None:
    layout = PathLayout(DataflowSection(), tied=False, step=0.05)
    for strategy in (PathSearch(SPACE, layout), StagedSearch(SPACE, layout)):
        assert choose_front(searched(), strategy, SETTINGS, ()) is None
    assert choose_front(searched(), STRATEGY, replace(SETTINGS, surrogate=False), ()) is None
    assert choose_front(searched(40), STRATEGY, SETTINGS, ()) is None
