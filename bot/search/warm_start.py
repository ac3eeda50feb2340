"""What a search begins with that earlier cycles have found: recipes carried over to today's models, and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bot.scoring.evaluator import Evaluation
from evaluation.scores import ItemScore
from merging.errors import MergingError
from merging.evolution.carrying import carried_genomes
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.spaces.space import SearchSpace


@dataclass(frozen=True)
class WarmStart:
    """Earlier recipes and scores, as they were when the cycle began.

    carried: recipes said for today's models, the most important first, for the first population.
    known: those that are the same recipes today, scored on all items of the search split.
    models: scores of other models on the same items, from which a race's estimates may learn.
    repeats: the earlier cycles whose search is the same, each repeated by the one before it, the newest first.
    """

    carried: tuple[Recipe, ...] = ()
    known: tuple[Evaluation, ...] = ()
    models: tuple[tuple[ItemScore, ...], ...] = ()
    repeats: tuple[str, ...] = ()


COLD = WarmStart()
"""Nothing from before."""


@dataclass(frozen=True)
class TodaysModels:
    """The models of a pool and their tensors.

    groups: the partition that the search has genes for. tensor_names: of every model. staged: that of the last stage.
    """

    sources: tuple[ModelId, ...]
    base: ModelId | None
    groups: Partition
    tensor_names: tuple[str, ...]
    staged: ModelId | None = None

    def successors(self, recipe: Recipe) -> dict[ModelId, ModelId]:
        """Each model of an earlier recipe → the same repo and adapter at today's commits; without what is gone."""
        single = [model for model in (self.base, self.staged) if model is not None]
        models = (*self.sources, *single)
        today = {_place(model): model for model in models}
        return {model: today[_place(model)] for model in recipe.origins if _place(model) in today}

    def carry(self, recipe: Recipe) -> Recipe:
        """An earlier recipe said for today's models and groups; those of its models that are gone stay as they are.

        MergingError if it cannot be said.
        """
        return recipe.with_models(self.successors(recipe)).regrouped(self.groups, self.tensor_names)


@dataclass(frozen=True)
class CarriedOver:
    """Earlier recipes in a search of today's.

    recipes: those that could be said for today's models; a later stage of the search may take up what the first cannot.
    digests: those that they have now, each once. first: those of the first population, the most important first.
    renewed: number of the first population's in which a newer commit took a model's place. reduced: in which a model is
    gone. left_out: (why others are not in the first population, how many).
    """

    recipes: tuple[Recipe, ...]
    digests: tuple[str, ...]
    first: tuple[str, ...]
    renewed: int
    reduced: int
    left_out: tuple[tuple[str, int], ...]


def carry_over(
    earlier: Sequence[Recipe | None], today: TodaysModels, space: SearchSpace, population: int
) -> CarriedOver:
    """Carry earlier recipes, the most important first, over to the space that a search begins with.

    earlier: None for a recipe that cannot be read any more.
    """
    recipes: list[Recipe] = []
    origins: dict[str, Recipe] = {}
    later: list[str] = []
    reasons = Counter[str]()
    for recipe in earlier:
        if recipe is None:
            reasons["this version of shoal does not read it"] += 1
            continue
        try:
            carried = today.carry(recipe)
        except MergingError as error:
            reasons[str(error)] += 1
            continue
        recipes.append(carried)
        genome = space.encode(carried)
        if genome is None:
            later.append(carried.digest)
            reasons[_refusal(recipe, today)] += 1
        elif (digest := space.decode(genome).digest) in origins:
            reasons["the same merge as another"] += 1
        else:
            origins[digest] = recipe
    genomes = carried_genomes(space, recipes, population)
    first = tuple(space.decode(genome).digest for genome in genomes)
    seeds = {space.decode(genome).digest for genome in space.seeds()}
    reasons["in every first population"] += len(origins.keys() & seeds)
    reasons["no room in the first population"] += len(origins.keys() - seeds - set(first))
    moves = [today.successors(origins[digest]) for digest in first]
    return CarriedOver(
        recipes=tuple(recipes),
        digests=tuple(dict.fromkeys((*origins, *later))),
        first=first,
        renewed=sum(any(old != new for old, new in move.items()) for move in moves),
        reduced=sum(len(move) < len(origins[digest].origins) for move, digest in zip(moves, first, strict=True)),
        left_out=tuple((reason, count) for reason, count in sorted(reasons.items()) if count),
    )


def _refusal(recipe: Recipe, today: TodaysModels) -> str:
    """Why a space has no genome for a recipe."""
    if not today.successors(recipe):
        return "all of its models are gone"
    return f"{recipe.describe()}: not among the merges that the search begins with"


def _place(model: ModelId) -> tuple[str, ...]:
    """Where a model is, whatever the commits of its parts."""
    return (model.location, model.file or "", *(_place(model.adapter) if model.adapter else ()))
