"""Beside a deeper release: the releases of its cycle that cost as much as a source, on the same items."""

from __future__ import annotations

from bot.release.card.collect import same_cost_siblings
from bot.release.results import SplitResults
from bot.scoring.evaluator import Evaluation
from bot.search.results import BaselineKind
from evaluation.eval_set import EvalItem, EvalSetFacts
from evaluation.skills import Skill, SkillTask
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import Hop, path_recipe
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge

ITEMS = tuple(EvalItem("sums", "sums:acc", "digest", str(number)) for number in range(4))
FACTS = EvalSetFacts("set", ITEMS, (("sums:acc", True),), (), "a prompt")
LAYERS = 2


def single(name: str) -> WeightMerge:
    return WeightMerge.single(ModelId(name, "0" * 40), Partition.even(LAYERS, 1, False, False), "float32")


def path_of(hops: int) -> Recipe:
    return path_recipe([single("a/one")], [Hop(0, index % LAYERS, 1.0) for index in range(hops)], 0, 0)


def scored(recipe: Recipe, values: str) -> Evaluation:
    scores = tuple(item.scored(float(value), None) for item, value in zip(ITEMS, values, strict=True))
    return Evaluation(recipe, scores, None, 1.0)


def test_a_deeper_release_is_compared_with_those_of_a_source_s_depth_and_no_others() -> None:
    deeper, deepest, flat, unscored = path_of(3), path_of(4), single("b/two"), single("c/three")
    merges = {one.digest: scored(one, values) for one, values in ((deeper, "1110"), (deepest, "0000"), (flat, "1000"))}
    report = SplitResults(FACTS, (Skill("sums", (SkillTask("sums", "acc"),)),), merges, (), (), 0.95)
    others = {"me/deeper": deeper, "me/deepest": deepest, "me/flat": flat, "me/unscored": unscored}
    (sibling,) = same_cost_siblings(report, deeper, others, LAYERS)
    assert (sibling.name, sibling.kind, sibling.repo) == ("me/flat", BaselineKind.RELEASE, "me/flat")
    assert (sibling.scores[0].mean, sibling.leads[0].mean) == (0.25, 0.5)
    assert same_cost_siblings(report, deeper, {"me/deeper": deeper}, LAYERS) == ()
