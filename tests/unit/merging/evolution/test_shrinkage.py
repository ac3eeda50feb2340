"""The front with shrinkage: nearer to the truth than the luckiest scores, and the same from the same scores."""

from dataclasses import replace

import numpy as np
import pytest

from merging.evolution.outcomes import Outcome, Scored
from merging.evolution.pareto import hypervolume, nondominated
from merging.evolution.shrinkage import FEWEST, shrink_front
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace

SPACE = WeightMergeSpace.build(
    method="task_arithmetic",
    sources=[ModelId(f"org/{name}", "0" * 40) for name in ("math", "language")],
    base=ModelId("org/base", "f" * 40),
    groups=Partition.even(4, 2, modules_apart=False, ends_apart=False),
    dtype="float32",
    seed=0,
)
ITEMS = 100


def truth(genome):
    """Two rates that pull the genes apart."""
    levels = np.array(genome) / 30
    return tuple(float(0.2 + 0.6 * np.exp(-2 * ((levels - middle) ** 2).sum())) for middle in (0.4, 0.6))


def searched(seed, count=120):
    """Recipes scored on few items; the genomes crowd around the front, as those of a search do."""
    random = np.random.default_rng(seed)
    levels = np.clip(random.normal(random.uniform(0.35, 0.65, (count, 1)), 0.15, (count, 4)) * 30, 0, 30)
    genomes = {SPACE.decode(genome).digest: genome for genome in map(tuple, levels.round().astype(int).tolist())}
    return [
        Scored(SPACE.decode(genome), Outcome(tuple(random.binomial(ITEMS, truth(genome)) / ITEMS), None, 1.0), 0)
        for genome in genomes.values()
    ]


def true_points(members):
    return [truth(SPACE.encode(one.recipe)) for one in members]


def test_its_members_are_better_than_those_with_the_best_scores_and_no_more_than_are_wanted():
    leads = []
    for seed in range(6):
        scored = searched(seed)
        shrunk = shrink_front(SPACE, scored, most=20)
        front = [one.scored for one in shrunk if one.chosen]
        measured = [scored[index] for index in nondominated([one.point for one in scored])]
        assert {one.recipe.digest for one in measured} == {o.scored.recipe.digest for o in shrunk if o.measured_best}
        assert len(front) <= max(20, len(measured))
        firsts = [one.scored.point[0] for one in shrunk]
        assert firsts == sorted(firsts, reverse=True)
        # Expected scores are nearer to the truth than those of the members with the best measured ones.
        exact = np.array(true_points([one.scored for one in shrunk]))
        off = [
            np.abs(np.array([getter(one) for one in shrunk]) - exact).mean()
            for getter in (lambda one: one.expected, lambda one: one.scored.point)
        ]
        assert off[0] < off[1]
        few = [one.scored for one in shrink_front(SPACE, scored, most=len(measured)) if one.chosen]
        assert len(few) <= len(measured)
        leads.append(hypervolume(true_points(few), (0, 0)) - hypervolume(true_points(measured), (0, 0)))
    assert np.mean(leads) > 0 and sum(lead > 0 for lead in leads) >= 4


def test_it_is_the_same_whatever_the_order_and_none_without_a_model():
    scored = searched(9)
    assert shrink_front(SPACE, scored[: FEWEST - 1], most=20) is None
    stranger = WeightMerge.single(ModelId("org/stranger", "0" * 40), SPACE.groups, "float32")
    assert shrink_front(SPACE, [*scored, replace(scored[0], recipe=stranger)], most=20) is None
    failed = [replace(one, outcome=Outcome(None, "the worker died", 1.0)) for one in scored[:5]]
    stopped = [replace(one, outcome=replace(one.outcome, estimated=True, answered=0.25)) for one in scored[5:40]]
    shrunk = shrink_front(SPACE, [*failed, *stopped, *scored[40:]], most=20)
    outsiders = {one.recipe.digest for one in scored[:40]}
    assert shrunk and not any(one.scored.recipe.digest in outsiders for one in shrunk)
    assert shrink_front(SPACE, [*failed, *stopped, *scored[40:]], most=20) == shrunk


@pytest.mark.parametrize("objectives", [1, 3])
def test_it_works_with_one_skill_and_with_more(objectives):
    scored = [
        replace(one, outcome=replace(one.outcome, objectives=(*one.point, 0.3)[:objectives])) for one in searched(1)
    ]
    shrunk = shrink_front(SPACE, scored, most=20)
    assert any(one.chosen for one in shrunk) and all(len(one.expected) == objectives for one in shrunk)
