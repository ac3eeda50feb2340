"""The detectable differences of a plan, for skills whose tasks share their items."""

from __future__ import annotations

import json

from bot.release.power import describe_hopelessness, detectable_effects, guard_powers, refuse_counts
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import TaskDescription
from evaluation.splits import Split

ITEMS = {Split.SEARCH: 200, Split.VALIDATION: 100, Split.REPORT: 150}


def watchlist(*tasks: tuple[str, str, float]) -> Watchlist:
    uses = tuple({"task": task, "metric": metric, "weight": weight} for task, metric, weight in tasks)
    return Watchlist.model_validate(
        {
            "name": "tiny",
            "watch": {"tags": ("fish",)},
            "skills": ({"name": "sums", "tasks": uses},),
            "publish": {"mode": "off"},
        }
    )


def facts(task: str, metric: str) -> TaskDescription:
    key = f"{task}:{metric}"
    return TaskDescription("sums", key, task, metric, "none", True, 0, "generate_until", "d", ITEMS, False, None)


def test_a_task_used_twice_shows_no_smaller_difference_than_once() -> None:
    once = detectable_effects(watchlist(("a", "strict", 1.0)), [facts("a", "strict")], 3, 20)
    twice = detectable_effects(
        watchlist(("a", "strict", 1.0), ("a", "lenient", 2.0)), [facts("a", "strict"), facts("a", "lenient")], 3, 20
    )
    assert once == twice and [one.items for one in once] == list(ITEMS.values())
    other = detectable_effects(
        watchlist(("a", "strict", 1.0), ("b", "strict", 1.0)), [facts("a", "strict"), facts("b", "strict")], 3, 20
    )
    assert [one.items for one in other] == [2 * count for count in ITEMS.values()]
    for one, both in zip(once, other, strict=True):
        assert one.difference is not None and both.difference is not None and both.difference < one.difference


def guarded(**guard: object) -> Watchlist:
    """A watchlist whose one guard has a task of its own."""
    known = watchlist(("a", "acc", 1.0)).model_dump(mode="json")
    uses = [{"task": "g", "metric": "acc"}]
    return Watchlist.model_validate_json(json.dumps(known | {"guards": [{"name": "trivia", "tasks": uses} | guard]}))


def described(skill: str, task: str, validation: int, search: int = 50) -> TaskDescription:
    items = {Split.SEARCH: search, Split.VALIDATION: validation, Split.REPORT: validation}
    return TaskDescription(
        skill, f"{task}:acc", task, "acc", "none", True, 0, "generate_until", "d", items, False, None
    )


def test_counts_are_refused_only_if_no_scores_could_pass_the_gate() -> None:
    one = watchlist(("a", "acc", 1.0))
    assert refuse_counts(one, [described("sums", "a", 5)]) is None  # 2 ** -5 <= 0.05
    assert refuse_counts(one, [described("sums", "a", 4)]) == (
        "tiny: items.validation: leaves the gate too few items (sums 4): even a merge that is right wherever its "
        "sources are wrong would have p = 0.062, and gate.confidence asks for 0.05; give a skill at least 5"
    )


def test_a_guard_that_not_even_an_unchanged_model_could_keep_is_refused() -> None:
    tasks = [described("sums", "a", 100), described("trivia", "g", 50, search=0)]
    assert refuse_counts(guarded(max_drop=0.06), tasks) is None
    refused = refuse_counts(guarded(max_drop=0.05), tasks)
    assert refused is not None and refused.startswith(
        "tiny: guards[0].max_drop: cannot be shown with 50 validation items: even a merge that answers all of them as "
        "its base does may have lost 0.051"
    )


def test_a_plan_says_what_a_guard_takes() -> None:
    tasks = [described("sums", "a", 100), described("trivia", "g", 200, search=0)]
    (power,) = guard_powers(guarded(), tasks)
    assert (power.guard, power.items, power.max_drop, power.enough_items) == ("trivia", 200, 0.05, 1237)
    assert power.description == (
        "with 200 items a merge as good as the reference passes 26% of the time; "
        "for 80%, use 1237 items or max_drop: 0.124"
    )
    (power,) = guard_powers(guarded(max_drop=0.2), tasks)
    assert power.description == "with 200 items a merge as good as the reference passes 99% of the time"


def test_a_gate_that_sees_no_difference_in_any_skill_is_warned_about() -> None:
    effects = detectable_effects(watchlist(("a", "acc", 1.0)), [described("sums", "a", 20)], 3, 20)
    assert describe_hopelessness(effects) == (
        "the gate is unlikely to see any difference with so few validation items (sums 20), so a run would probably "
        "publish nothing; raise items.validation, use tasks with more documents, or lower search.population"
    )
    assert describe_hopelessness(detectable_effects(guarded(), [described("sums", "a", 60)], 3, 20)) is None
