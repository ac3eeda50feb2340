"""The stages of a search: mixtures of weights, paths through layers, or paths through what the mixtures came to.

One budget, one ledger and one front serve all stages: members of each compete in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bot.search.spaces import Spaces, depth
from merging.evolution.evolve import Evaluate, Generation, Outcome, SearchResult, Settings, evolve
from merging.evolution.pareto import extremes_and_knee, hypervolume
from merging.recipes.path import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.space import SearchSpace

Validate = Callable[[Sequence[Recipe]], Sequence[tuple[float, ...] | None]]
"""Skill scores on the validation split; None for a recipe that cannot be scored."""


@dataclass(frozen=True)
class SearchJob:
    """What all stages share. skills: how many of the objectives are skills; one more counts layers if asked for."""

    spaces: Spaces
    settings: Settings
    evaluate: Evaluate
    validate: Validate
    skills: int
    on_generation: Callable[[Generation], None]


def run_stages(contest: SearchJob) -> SearchResult:
    """The search in the spaces that are asked for."""
    spaces, settings = contest.spaces, contest.settings
    paths = spaces.over_sources()
    if paths is None or spaces.kind == "dataflow":
        return _evolve(contest, settings, paths or spaces.weights, None)
    share = spaces.dataflow.share
    first = _evolve(contest, _part(settings, 1 - share), spaces.weights, None)
    spent = sum(one.outcome.share for one in first.scored), sum(one.outcome.seconds for one in first.scored) / 60
    minutes = None if settings.minutes is None else settings.minutes - spent[1]
    left = int(settings.candidates - spent[0])
    if left < 1 or (minutes is not None and minutes <= 0):
        return first
    rest = replace(settings, candidates=left, minutes=minutes)
    second = _evolve(contest, rest, spaces.paths(chosen_parts(contest, first)), first)
    return replace(second, stopped=f"mixtures: {first.stopped}; paths: {second.stopped}")


def chosen_parts(contest: SearchJob, first: SearchResult) -> list[WeightMerge]:
    """The models whose layers are laid out after a search among mixtures, at most as many as are asked for.

    The first is the knee of the front by its validation scores. Each further one is the front member or source that
    adds most to those before it: to the hypervolume of their validation scores, above the lowest of all.

    This is the one place where a search sees validation scores, on which the gate tests its front later: scores of the
    search split would favour what they chose. So the gate is a little less strict with `both`; the report split stays
    unseen.
    """
    models = contest.spaces.weights.singles()
    members = {one.recipe.digest: one.recipe for one in first.front if isinstance(one.recipe, WeightMerge)}
    known = members | {one.digest: one for one in models}
    scores = dict(zip(known, contest.validate(list(known.values())), strict=True))
    able = [digest for digest in known if scores[digest] is not None]
    leaders = [digest for digest in able if digest in members] or able
    if len(able) < 2:
        return list(models)
    points = {digest: scores[digest] or () for digest in able}
    corner = tuple(min(column) - 1e-6 for column in zip(*points.values(), strict=True))
    (knee,) = extremes_and_knee([points[digest] for digest in leaders], 1)
    chosen = [leaders[knee]]
    while len(chosen) < min(contest.spaces.dataflow.models, len(able)):
        taken = [points[digest] for digest in chosen]
        others = [digest for digest in able if digest not in chosen]
        chosen.append(max(others, key=lambda digest: hypervolume([*taken, points[digest]], corner)))
    return [known[digest] for digest in chosen]


def with_depth(outcomes: Sequence[Outcome], recipes: Sequence[Recipe], layers: int) -> list[Outcome]:
    """The outcomes with one objective more: layers beside those of a source, negative, for fewer are better."""
    return [
        one if one.objectives is None else replace(one, objectives=(*one.objectives, -depth(recipe) / layers))
        for one, recipe in zip(outcomes, recipes, strict=True)
    ]


def _evolve(contest: SearchJob, settings: Settings, space: SearchSpace, earlier: SearchResult | None) -> SearchResult:
    smaller = contest.spaces.smaller
    layers = contest.spaces.weights.groups.layers

    def evaluate(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
        outcomes = contest.evaluate(recipes)
        return with_depth(outcomes, recipes, layers) if smaller else outcomes

    return evolve(
        space,
        settings,
        evaluate,
        objectives=contest.skills + smaller,
        earlier=earlier,
        on_generation=contest.on_generation,
    )


def _part(settings: Settings, share: float) -> Settings:
    minutes = None if settings.minutes is None else settings.minutes * share
    return replace(settings, candidates=max(1, round(settings.candidates * share)), minutes=minutes)
