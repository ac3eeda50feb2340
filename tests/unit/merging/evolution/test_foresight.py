"""The search with a model of its scores: what it saves, what it cannot miss, and how it is resumed."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from fixtures.hasty import hasty
from merging.evolution.evolve import evolve
from merging.evolution.journal import AskedBatch
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.evolution.pareto import hypervolume
from merging.evolution.shrinkage import shrink_front
from merging.evolution.surrogate.improvement import choose_batch
from merging.evolution.surrogate.score_model import learn_scores
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.paths import PathSpace
from merging.spaces.weight_merges import WeightMergeSpace

pytestmark = pytest.mark.slow
__all__ = ["hasty"]

BASE = ModelId("org/base", "f" * 40)


def space_of(sources=2, groups=6, method="task_arithmetic", step=0.05):
    return WeightMergeSpace.build(
        method=method,
        sources=[ModelId(f"org/{number}", "0" * 40) for number in range(sources)],
        base=BASE,
        groups=Partition.even(25, groups, modules_apart=False, ends_apart=False),
        dtype="float32",
        seed=0,
        step=step,
    )


def settings_of(candidates, surrogate=True, population=20, seed=0):
    return SearchSettings(population, candidates, None, seed, surrogate)


def rates(space, skills, seed=0, items=200, conflict=0.3):
    """Skills that fall with the distance of the genes from each skill's target, counted on items of their own."""
    random = np.random.default_rng(seed)
    genes = len(space.levels)
    targets = 0.5 + conflict * random.uniform(-1, 1, (skills, genes))
    weights = random.dirichlet(np.ones(genes), skills)
    thresholds = np.sort(random.random((skills, items)))

    def evaluate(recipes):
        levels = np.array([space.encode(recipe) for recipe in recipes]) / (np.array(space.levels) - 1)
        truth = np.exp(-10 * np.einsum("rsg,sg->rs", (levels[:, None] - targets) ** 2, weights))
        counted = (thresholds < truth[..., None]).mean(axis=-1)
        errors = np.sqrt(np.maximum(counted * (1 - counted), 1e-3) / items)
        return [Outcome(tuple(one), None, 1.0, errors=tuple(e)) for one, e in zip(counted, errors, strict=True)]

    return evaluate


def volume(result, skills, count=None):
    points = [one.outcome.objectives for one in result.scored[:count] if one.outcome.is_measured]
    return hypervolume(points, (0.0,) * skills)


@pytest.mark.parametrize(
    ("space", "skills"),
    [(space_of(groups=2), 1), (space_of(), 3), (space_of(sources=4, groups=25), 2), (space_of(), 5)],
    ids=["4 genes, 1 skill", "12 genes, 3 skills", "100 genes, 2 skills", "12 genes, 5 skills"],
)
def test_it_finds_in_80_evaluations_what_plain_evolution_does_not_find_in_200(space, skills):
    evaluate = rates(space, skills)
    plain = evolve(space, settings_of(200, surrogate=False), evaluate, objectives=skills, reference=(0.0,) * skills)
    found = evolve(space, settings_of(80), evaluate, objectives=skills, reference=(0.0,) * skills)
    assert [one.recipe for one in found.scored[:20]] == [one.recipe for one in plain.scored[:20]]
    assert volume(found, skills) >= 0.99 * volume(plain, skills)
    assert volume(found, skills) > volume(plain, skills, 80) or volume(found, skills) == 1.0


def test_a_model_that_points_to_one_side_only_does_not_starve_the_other(monkeypatch):
    """The worst model that there can be: all that it proposes is where scores are high, and none on the other side."""
    space = space_of(groups=1, step=0.01)

    def evaluate(recipes):
        genomes = [space.encode(recipe) for recipe in recipes]
        return [Outcome((0.5 - genome[0] / 1000 if genome[0] < 75 else 0.2,), None, 1.0) for genome in genomes]

    def choose(_self, count, generation, _reference, is_new):
        one_side = ((gene, other) for gene in range(75) for other in range(generation, 151))
        return list(islice(filter(is_new, one_side), count))

    def other_side():
        result = evolve(space, settings_of(500), evaluate, objectives=1)
        genomes = [space.encode(one.recipe) for one in result.scored if one.generation > 0]
        return [genome for genome in genomes if genome[0] >= 75]

    monkeypatch.setattr("merging.evolution.surrogate.foresight.Foresight.choose", choose)
    reached = other_side()
    assert len(reached) >= 10
    assert len({(first // 75, second // 38) for first, second in reached}) >= 4  # every quarter of it
    monkeypatch.setattr("merging.evolution.candidates.EXPLORED", 0.0)
    assert other_side() == []


def test_it_learns_where_candidates_fail_and_goes_on_where_all_do():
    space = space_of()
    good = rates(space, 2)

    def evaluate(recipes):
        fails = [space.encode(recipe)[0] > 12 for recipe in recipes]
        return [Outcome(None, "failed", 1.0) if fail else one for fail, one in zip(fails, good(recipes), strict=True)]

    result = evolve(space, settings_of(100), evaluate, objectives=2, reference=(0.0, 0.0))
    failed = [one.outcome.objectives is None for one in result.scored]
    assert sum(failed[:20]) > 6
    assert sum(failed[-40:]) <= 12
    hopeless = evolve(space, settings_of(50), lambda r: [Outcome(None, "failed", 1.0)] * len(r), objectives=2)
    assert len({one.recipe.digest for one in hopeless.scored}) == 50


@pytest.mark.usefixtures("hasty")
def test_scores_too_large_to_be_squared_neither_end_a_search_nor_its_model():
    space, good = space_of(), rates(space_of(), 2)

    def wild(at):
        """Scores of -1e200 for some recipes, as a broken merge's perplexity."""
        outcomes = lambda recipes: zip(recipes, good(recipes), strict=True)  # noqa: E731
        return lambda recipes: [
            replace(one, objectives=(-1e200, 0.5), errors=None) if at(space.encode(recipe)) else one
            for recipe, one in outcomes(recipes)
        ]

    some = wild(lambda genome: genome[0] > 12)
    found = evolve(space, settings_of(80), some, objectives=2, reference=(0.0, 0.0))
    large = [one.point[0] < 0 for one in found.scored]
    assert sum(large[:20]) > 6 and sum(large[-40:]) <= 12
    assert len(evolve(space, settings_of(40), wild(lambda _: True), objectives=2).scored) == 40
    assert shrink_front(space, found.scored, 20) is None


def test_a_model_that_cannot_learn_from_all_scores_knows_where_the_bad_ones_are(monkeypatch):
    space, random = space_of(groups=2), np.random.default_rng(0)
    evaluate = rates(space, 2, items=10_000)
    genomes = list(dict.fromkeys(islice(space.random_genomes(random), 700)))
    outcomes = evaluate([space.decode(genome) for genome in genomes])
    told, unseen = dict(zip(genomes[:600], outcomes[:600], strict=True)), genomes[600:]
    truth = np.array([one.objectives for one in outcomes[600:]])
    monkeypatch.setattr("merging.evolution.surrogate.score_model.MOST_TOLD", 100)
    learned = learn_scores(space, told, lambda asked: np.empty((len(asked), 0))).scores(unseen)
    assert np.sqrt(((learned - truth) ** 2).mean()) < 0.1 and abs((learned - truth).mean()) < 0.05


def test_small_spaces_are_searched_through_each_recipe_once():
    for space in (space_of(groups=1, step=0.25), space_of(groups=2, method="linear", step=0.5)):
        result = evolve(space, settings_of(5000), rates(space, 2), objectives=2)
        everything = {space.decode(np.unravel_index(i, space.levels)).digest for i in range(space.size)}
        assert sorted(one.recipe.digest for one in result.scored) == sorted(everything)
        assert result.stopped == f"all {len(everything)} recipes of the space are scored"


def test_estimates_are_learned_from_with_their_errors():
    """Three of four candidates are scored on a tenth of the items; wild errors must not lead the search astray."""
    space, random = space_of(), np.random.default_rng(0)
    good = rates(space, 2)

    def evaluate(recipes):
        outcomes = good(recipes)
        noise = random.normal(0, 0.1, (len(recipes), 2))
        return [
            replace(
                one,
                objectives=tuple(np.clip(one.objectives + off, 0, 1)),
                share=0.25,
                estimated=True,
                errors=(0.1, 0.1),
            )
            if int(recipe.digest, 16) % 4
            else one
            for recipe, one, off in zip(recipes, outcomes, noise, strict=True)
        ]

    result = evolve(space, settings_of(60), evaluate, objectives=2, reference=(0.0, 0.0))
    plain = evolve(space, settings_of(60, surrogate=False), evaluate, objectives=2, reference=(0.0, 0.0))
    assert volume(result, 2) > volume(plain, 2)


def paths(models=2, layers=4):
    whole = Partition.even(layers, 1, modules_apart=False, ends_apart=False)
    return PathSpace.build(
        [WeightMerge.single(ModelId(f"org/{name}", "0" * 40), whole, "float32") for name in "abc"[:models]], tied=False
    )


def similarity(layers=4):
    """The share of right layers in a hidden path, less for each layer too many; and fewer layers are better."""
    wanted = [(0, 0), (1, 1), (1, 1), (0, 2), (1, 3)]

    def evaluate(recipes):
        outcomes = []
        for recipe in recipes:
            steps = [(recipe.parts[hop.part].sources[0].name[-1] == "b", hop.layer) for hop in recipe.hops]
            right = sum(step in steps for step in wanted) / len(wanted)
            score = right / (1 + 0.1 * abs(len(steps) - len(wanted)))
            outcomes.append(Outcome((score, -recipe.depth / layers), None, 1.0, errors=(0.03, 0.0)))
        return outcomes

    return evaluate


def test_paths_are_searched_no_worse_with_a_model_and_depth_is_not_modelled():
    space = paths()
    arguments = {"objectives": 2, "reference": (0.0, -2.0), "exact": lambda recipe: (-recipe.depth / 4,)}
    ends = {}
    for surrogate in (True, False):
        results = [evolve(space, settings_of(80, surrogate, seed=seed), similarity(), **arguments) for seed in range(2)]
        ends[surrogate] = sum(result.generations[-1].hypervolume for result in results)
    assert ends[True] >= ends[False]


class Notes:
    """A journal in memory."""

    def __init__(self, batches=()):
        self.batches = dict(batches)

    def asked(self, generation):
        return self.batches.get(generation)

    def record(self, generation, batch):
        assert self.batches.setdefault(generation, batch) == batch
        assert {*batch.recipes} and len(batch.genomes) == len(batch.recipes)


def shaken(*arguments):
    """Another processor, whose model comes to other choices altogether."""
    return choose_batch(*arguments)[::-2]


@pytest.mark.usefixtures("hasty")
def test_a_search_that_is_killed_goes_on_elsewhere_to_the_same_end(monkeypatch):
    space, journal, settings = space_of(), Notes(), settings_of(48, population=12)
    evaluate = rates(space, 2)
    expected = evolve(space, settings, evaluate, objectives=2, journal=journal)
    assert sorted(journal.batches) == [0, 1, 2, 3]
    for killed in range(4):
        # What was asked for is in the record; the rest is chosen anew, here as there.
        kept = Notes({number: journal.batches[number] for number in range(killed)})
        assert evolve(space, settings, evaluate, objectives=2, journal=kept) == expected
        assert kept.batches == journal.batches
    monkeypatch.setattr("merging.evolution.surrogate.foresight.choose_batch", shaken)
    assert evolve(space, settings, evaluate, objectives=2, journal=journal) == expected
    assert evolve(space, settings, evaluate, objectives=2) != expected


@pytest.mark.usefixtures("hasty")
def test_last_bits_of_the_scores_hardly_ever_change_what_is_asked_for():
    space = space_of()
    evaluate = rates(space, 2)

    def elsewhere(recipes):
        return [
            replace(one, objectives=tuple(score * (1 - 1e-12) for score in one.objectives)) for one in evaluate(recipes)
        ]

    here, there = (evolve(space, settings_of(60), scores, objectives=2) for scores in (evaluate, elsewhere))
    assert [one.recipe for one in here.scored] == [one.recipe for one in there.scored]


@pytest.mark.usefixtures("hasty")
def test_a_record_of_another_space_is_not_followed():
    space, other = space_of(), space_of(sources=3)
    journal = Notes()
    evolve(other, settings_of(40), rates(other, 2), objectives=2, journal=journal)
    expected = evolve(space, settings_of(40), rates(space, 2), objectives=2)
    overwritten = {}

    class Stale(Notes):
        def record(self, generation, batch):
            overwritten[generation] = batch

    stale = Stale(journal.batches)
    assert evolve(space, settings_of(40), rates(space, 2), objectives=2, journal=stale) == expected
    assert sorted(overwritten) == [0, 1]
    wrong = AskedBatch(((99,) * 12,), ("0" * 64,))
    assert not wrong.is_of(space)
