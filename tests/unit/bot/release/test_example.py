"""The report items that a card may show: those on which the release scored higher than the strongest merged model."""

from __future__ import annotations

from dataclasses import replace

from bot.release.card.example import ExampleItems, choose_example_items
from bot.release.card.shown import shown_facts
from bot.release.results import ShownItem, SplitResults
from bot.scoring.evaluator import Evaluation
from bot.search.baselines import Baseline
from bot.search.results import BaselineKind
from evaluation.eval_set import EvalItem, EvalSetFacts, Question, TaskDescription
from evaluation.skills import Skill, SkillTask
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

SKILLS = (Skill("sums", (SkillTask("sums", "acc"),)), Skill("slips", (SkillTask("slips", "error"),)))
ITEMS = tuple(
    EvalItem(skill.name, task.key, "digest", f"{task.task}-{number}")
    for skill in SKILLS
    for task in skill.tasks
    for number in range(4)
)
FACTS = EvalSetFacts("set", ITEMS, (("sums:acc", True), ("slips:error", False)), (), "a prompt")
OWN = "release"


def evaluation(name: str, values: str) -> Evaluation:
    """A model's scores, one digit an item: four sums, then four slips."""
    recipe = WeightMerge.single(ModelId(name, "0" * 40), Partition.even(2, 1, False, False), "float32")
    scores = tuple(item.scored(float(value), None) for item, value in zip(ITEMS, values, strict=True))
    return Evaluation(recipe, scores, None, 1.0)


def choose(
    own: str, facts: EvalSetFacts = FACTS, with_pictures: bool = True, **others: tuple[BaselineKind, str]
) -> ExampleItems:
    found = [(name, kind, evaluation(name, values)) for name, (kind, values) in others.items()]
    baselines = tuple((Baseline(name, kind, one.recipe), one) for name, kind, one in found)
    report = SplitResults(facts, SKILLS, {OWN: evaluation("own", own)}, baselines, (), 0.95)
    return choose_example_items(report, OWN, with_pictures=with_pictures)


def names(chosen: ExampleItems) -> list[str]:
    return [item.item for item in chosen.items]


def test_the_rival_is_the_strongest_source_or_base_and_no_plain_merge() -> None:
    chosen = choose(
        "11101111",
        weak=(BaselineKind.SOURCE, "00001111"),
        strong=(BaselineKind.BASE, "01011111"),
        mean=(BaselineKind.PLAIN, "11111111"),
    )
    assert (chosen.skill, chosen.rival, names(chosen)) == ("sums", "strong", ["sums-0", "sums-2"])


def test_the_skill_is_the_one_with_the_largest_lead_and_lower_may_be_better() -> None:
    chosen = choose("11100001", one=(BaselineKind.SOURCE, "11001110"))
    assert (chosen.skill, chosen.rival, names(chosen)) == ("slips", "one", ["slips-0", "slips-1", "slips-2"])


def test_items_with_pictures_are_left_out_where_tasks_are_not_passed_on() -> None:
    pictured = tuple(
        TaskDescription(skill.name, use.key, use.task, use.metric, "", True, 0, "", "", {}, False, None, True)
        for skill in SKILLS
        for use in skill.tasks
    )
    one = (BaselineKind.SOURCE, "00001110")
    mixed, all_pictured = replace(FACTS, tasks=pictured[:1]), replace(FACTS, tasks=pictured)
    assert choose("11110001", mixed, one=one).skill == "sums"
    assert names(choose("11110001", mixed, False, one=one)) == ["slips-0", "slips-1", "slips-2"]
    assert set(names(choose("11111111", mixed, False, one=one))) == {f"slips-{number}" for number in range(4)}
    assert choose("11110001", all_pictured, False, one=one).items == ()


def test_a_shown_prompt_says_where_its_pictures_stand() -> None:
    question = Question("see", "board", "what is in <image>? ", "red", 0, False, 5, (b"",))
    (facts,) = shown_facts((ShownItem(question, ()),))
    assert facts.prompt == "what is in <image>?" and facts.pictures == ("pictures/1-1.png",)


def test_without_such_an_item_any_of_the_first_skill_is_taken_and_nobody_is_named() -> None:
    chosen = choose("11000000", one=(BaselineKind.SOURCE, "11110000"), two=(BaselineKind.SOURCE, "11000000"))
    assert (chosen.skill, chosen.rival, names(chosen)) == ("sums", None, [f"sums-{n}" for n in range(4)])


def test_a_skill_that_the_release_loses_on_the_whole_may_still_have_its_items() -> None:
    chosen = choose("10000000", one=(BaselineKind.SOURCE, "01110000"))
    assert (chosen.skill, chosen.rival, names(chosen)) == ("sums", "one", ["sums-0"])
