"""Search strategies over synthetic scores: which spaces they search, with which part of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bot.search.job import SearchJob
from bot.search.results import GateResult
from bot.search.selection import FASTEST, choose_releases
from bot.search.strategies.paths import PathSearch
from bot.search.strategies.staged import StagedSearch
from bot.search.strategies.strategy import PathLayout, SearchedDrawing, SearchStrategy
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.sections import DataflowSection
from merging.evolution.outcomes import Outcome, Scored, SearchSettings
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import PathRecipe
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.appended import AppendedSpace, DrawingSize, DrawingSteps
from merging.spaces.space import MergeSpace
from merging.spaces.weight_merges import WeightMergeSpace

LAYERS = 4
SOURCES = tuple(ModelId(f"tiny/{name}", name * 40) for name in "abc")
WEIGHTS = WeightMergeSpace.build(
    method="linear",
    sources=SOURCES,
    base=None,
    groups=Partition.even(LAYERS, 1, False, False),
    dtype="float32",
    seed=0,
)


def share(recipe: WeightMerge, source: int) -> float:
    """The part that a source has in an average."""
    rows = dict(zip(recipe.sources, (row[0] for row in recipe.rows("weight")), strict=True))
    return rows.get(SOURCES[source], 0.0) / sum(rows.values())


def skills(recipe: Recipe) -> tuple[float, float]:
    """Two skills: a's and b's part in the weights; a path has those of its layers, and a little for each of them."""
    if isinstance(recipe, WeightMerge):
        return share(recipe, 0) ** 0.5, share(recipe, 1) ** 0.5
    layers = [skills(recipe.parts[hop.part]) for hop in recipe.hops]
    best = tuple(max(column) for column in zip(*layers, strict=True))
    return best[0] + 0.01 * len(layers), best[1] + 0.01 * len(layers)


class Asked:
    """Scores recipes and remembers which."""

    def __init__(self) -> None:
        self.recipes: list[Recipe] = []
        self.validated: list[Recipe] = []

    def evaluate(self, recipes: Sequence[Recipe]) -> list[Outcome]:
        self.recipes += recipes
        return [Outcome(skills(recipe), None, 1.0) for recipe in recipes]

    def validate(self, recipes: Sequence[Recipe]) -> list[tuple[float, ...] | None]:
        self.validated += recipes
        return [skills(recipe) for recipe in recipes]


def job(asked: Asked, candidates: int = 60) -> SearchJob:
    return SearchJob(SearchSettings(10, candidates, None, 1), asked.evaluate, asked.validate, 2, lambda _: None)


def layout(**dataflow: object) -> PathLayout:
    return PathLayout(DataflowSection.model_validate(dataflow), tied=False, step=0.05)


@pytest.mark.parametrize(
    ("strategy", "weight_merges", "paths"),
    [
        (WeightMergeSearch(WEIGHTS), 60, 0),
        (PathSearch(WEIGHTS, layout(models=2)), 2, 58),
        (StagedSearch(WEIGHTS, layout(models=2, share=1 / 3)), 40, 20),
    ],
)
def test_the_budget_is_spent_in_the_spaces_that_are_asked_for(
    strategy: SearchStrategy, weight_merges: int, paths: int
) -> None:
    asked = Asked()
    found = strategy.run(job(asked))
    kinds = [isinstance(recipe, PathRecipe) for recipe in asked.recipes]
    assert kinds.count(True) == paths
    assert kinds.count(False) == weight_merges
    assert len({recipe.digest for recipe in asked.recipes}) == len(found.scored) == 60
    assert bool(asked.validated) == isinstance(strategy, StagedSearch)


def test_members_of_both_stages_share_one_front() -> None:
    found = StagedSearch(WEIGHTS, layout(share=0.5)).run(job(Asked(), 120))
    points = [one.outcome.objectives or () for one in found.front]
    for one in found.scored:
        scores = one.outcome.objectives or ()
        assert not any(all(a > b for a, b in zip(scores, point, strict=True)) for point in points)
    assert any(isinstance(one.recipe, PathRecipe) for one in found.front)
    volumes = [generation.hypervolume for generation in found.generations]
    assert volumes == sorted(volumes)


def test_a_search_of_two_stages_done_again_takes_the_same_way() -> None:
    one, other = Asked(), Asked()
    StagedSearch(WEIGHTS, layout()).run(job(one))
    StagedSearch(WEIGHTS, layout()).run(job(other))
    assert [recipe.digest for recipe in one.recipes] == [recipe.digest for recipe in other.recipes]


def test_paths_use_the_layers_of_the_knee_and_of_the_models_that_add_most_to_it() -> None:
    asked = Asked()
    first = WeightMergeSearch(WEIGHTS).run(job(asked))
    models = StagedSearch(WEIGHTS, layout(models=3)).choose_models(job(asked), first)
    assert len({model.digest for model in models}) == 3
    assert models[0].digest in {one.recipe.digest for one in first.front}
    assert min(skills(models[0])) > 0.6  # good at both
    knee, *others = map(skills, models)
    leads = {tuple(one > other for one, other in zip(partner, knee, strict=True)) for partner in others}
    assert leads == {(True, False), (False, True)}  # one partner for each skill


def test_fewer_layers_can_be_an_objective() -> None:
    found = PathSearch(WEIGHTS, layout(smaller=True, min_layers=2)).run(job(Asked()))
    for one in found.front:
        assert one.outcome.objectives == (*skills(one.recipe), -one.recipe.depth / LAYERS)
    depths = {one.recipe.digest: one.recipe.depth for one in found.front}
    assert min(depths.values()) < LAYERS < max(depths.values())
    passed = [GateResult(one.recipe.digest, skills(one.recipe), True, "", 0.01, 0.05, ()) for one in found.front]
    chosen = {one.role: depths[one.recipe] for one in choose_releases(passed, ["a", "b"], 4, depths)}
    assert chosen["smallest"] == min(depths.values()) < max(chosen.values())


STEPS, SIZES = DrawingSteps.between(1, 8), DrawingSize.among((256, 512, 768))
Searched = tuple[MergeSpace, SearchedDrawing]


@pytest.mark.parametrize(
    ("searched", "least"),
    [
        ((AppendedSpace(WEIGHTS, STEPS), SearchedDrawing((1, 8))), 1 / 8),
        ((AppendedSpace(WEIGHTS, SIZES), SearchedDrawing((), SIZES.sizes)), 1 / 9),
        ((AppendedSpace(AppendedSpace(WEIGHTS, STEPS), SIZES), SearchedDrawing((1, 8), SIZES.sizes)), 1 / 72),
    ],
)
def test_what_a_picture_costs_in_steps_and_pixels_can_be_one_objective(searched: Searched, least: float) -> None:
    space, drawing = searched
    strategy = WeightMergeSearch(space, drawing)
    known = Scored(WEIGHTS.decode(WEIGHTS.seeds()[0]), Outcome((9.0, 9.0), None, 0.0), 0)
    asked = Asked()
    found = strategy.run(replace(job(asked), known=(known,)))
    drawn = {(recipe.steps, recipe.size) for recipe in asked.recipes}
    assert {steps for steps, _ in drawn} >= ({1, 8} if drawing.steps else {None})
    assert {size for _, size in drawn} == ({256, 512, 768} if drawing.sizes else {None})
    assert (None in {steps for steps, _ in drawn}) == (not drawing.steps)
    for one in found.front:
        cost = (one.recipe.steps or 8) / 8 * ((one.recipe.size or 768) / 768) ** 2
        assert one.outcome.objectives == (*skills(one.recipe), pytest.approx(-cost))
    assert strategy.cost is not None and strategy.cost.role == FASTEST
    costs = {one.recipe.digest: strategy.cost.of(one.recipe) for one in found.front}
    passed = [GateResult(one.recipe.digest, skills(one.recipe), True, "", 0.01, 0.05, ()) for one in found.front]
    chosen = {one.role: costs[one.recipe] for one in choose_releases(passed, ["a", "b"], 4, costs, FASTEST)}
    assert min(chosen.values()) == min(costs.values()) == pytest.approx(least)


def test_what_an_earlier_search_found_is_where_two_stages_begin_and_costs_nothing_if_it_is_known() -> None:
    strategy = StagedSearch(WEIGHTS, layout(models=2, smaller=True, min_layers=2))
    before = strategy.run(job(Asked(), 120))
    earlier = tuple(one.recipe for one in before.front)
    assert {bool(recipe.hops) for recipe in earlier} == {True, False}
    free = tuple(Scored(recipe, Outcome(skills(recipe), None, 0.0, share=0.0, answered=0.0), 0) for recipe in earlier)

    known, unknown = Asked(), Asked()
    found = strategy.run(replace(job(known), carried=earlier, known=free))
    strategy.run(replace(job(unknown), carried=earlier))
    digests = {recipe.digest for recipe in earlier}
    assert len(known.recipes) == 60 and not digests & {recipe.digest for recipe in known.recipes}
    assert {one.recipe.digest for one in found.scored} == digests | {recipe.digest for recipe in known.recipes}
    assert all(one.outcome.objectives == (*skills(one.recipe), -one.recipe.depth / LAYERS) for one in found.front)
    merges = [recipe.digest for recipe in earlier if not recipe.hops]
    assert set(merges[:3]) <= {recipe.digest for recipe in unknown.recipes[:10]}  # the first generation


def test_a_path_is_only_taken_up_if_its_models_are_laid_out() -> None:
    sources, others = (PathSearch(WEIGHTS, layout(models=2)), StagedSearch(WEIGHTS, layout(models=2)))
    front = [one.recipe for one in sources.run(job(Asked())).front if one.recipe.hops]
    again = Asked()
    sources.run(replace(job(again), carried=tuple(front)))
    assert {recipe.digest for recipe in front[:5]} <= {recipe.digest for recipe in again.recipes[:10]}
    path = front[0]
    assert sources.first_space.encode(path) is not None and others.first_space.encode(path) is None
    elsewhere = path.with_models({source: replace(source, location="tiny/gone") for source in SOURCES})
    assert sources.first_space.encode(elsewhere) is None
