from __future__ import annotations

from collections.abc import Sequence

import pytest

from bot.search.results import GateResult
from bot.search.selection import choose
from bot.search.spaces import Spaces, depth
from bot.search.stages import SearchJob, chosen_parts, run_stages
from bot.watchlist.sections import DataflowSection, SpaceKind
from merging.evolution.evolve import Outcome, Settings
from merging.recipes.path import PathRecipe, Recipe
from merging.recipes.weight_merge import ModelId, Partition, WeightMerge
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


def contest(asked: Asked, kind: SpaceKind, candidates: int = 60, **dataflow: object) -> SearchJob:
    spaces = Spaces(WEIGHTS, kind, DataflowSection.model_validate(dataflow))
    settings = Settings(10, candidates, None, 1)
    return SearchJob(spaces, settings, asked.evaluate, asked.validate, 2, lambda _: None)


@pytest.mark.parametrize(
    ("kind", "weight_merges", "paths"), [("parameter", 60, 0), ("dataflow", 2, 58), ("both", 40, 20)]
)
def test_the_budget_is_spent_in_the_spaces_that_are_asked_for(kind: SpaceKind, weight_merges: int, paths: int) -> None:
    asked = Asked()
    found = run_stages(contest(asked, kind, share=1 / 3, models=2))
    kinds = [isinstance(recipe, PathRecipe) for recipe in asked.recipes]
    assert kinds.count(True) == paths
    assert kinds.count(False) == weight_merges
    assert len({recipe.digest for recipe in asked.recipes}) == len(found.scored) == 60
    assert bool(asked.validated) == (kind == "both")


def test_members_of_both_stages_stand_on_one_front() -> None:
    asked = Asked()
    found = run_stages(contest(asked, "both", 120, share=0.5))
    points = [one.outcome.objectives or () for one in found.front]
    for one in found.scored:
        scores = one.outcome.objectives or ()
        assert not any(all(a > b for a, b in zip(scores, point, strict=True)) for point in points)
    assert any(isinstance(one.recipe, PathRecipe) for one in found.front)
    volumes = [generation.hypervolume for generation in found.generations]
    assert volumes == sorted(volumes)


def test_a_search_of_two_stages_done_again_takes_the_same_way() -> None:
    one, other = Asked(), Asked()
    run_stages(contest(one, "both"))
    run_stages(contest(other, "both"))
    assert [recipe.digest for recipe in one.recipes] == [recipe.digest for recipe in other.recipes]


def test_layers_are_laid_out_of_the_knee_and_of_what_adds_most_to_it() -> None:
    asked = Asked()
    setting = contest(asked, "both", models=3)
    first = run_stages(contest(asked, "parameter"))
    parts = chosen_parts(setting, first)
    assert len({part.digest for part in parts}) == 3
    assert parts[0].digest in {one.recipe.digest for one in first.front}
    assert min(skills(parts[0])) > 0.6  # good at both
    knee, *others = map(skills, parts)
    leads = {tuple(one > other for one, other in zip(partner, knee, strict=True)) for partner in others}
    assert leads == {(True, False), (False, True)}  # one partner for each skill


def test_fewer_layers_can_be_an_objective() -> None:
    asked = Asked()
    found = run_stages(contest(asked, "dataflow", smaller=True, min_layers=2))
    for one in found.front:
        assert one.outcome.objectives == (*skills(one.recipe), -depth(one.recipe) / LAYERS)
    depths = {one.recipe.digest: depth(one.recipe) for one in found.front}
    assert min(depths.values()) < LAYERS < max(depths.values())
    passed = [GateResult(one.recipe.digest, skills(one.recipe), True, "", 0.01, 0.05, ()) for one in found.front]
    chosen = {one.role: depths[one.recipe] for one in choose(passed, ["a", "b"], 4, depths)}
    assert chosen["smallest"] == min(depths.values()) < max(chosen.values())
