"""The detectable differences of a plan, for skills whose tasks share their items."""

from __future__ import annotations

from bot.cycle.power import detectable_effects
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
    once = detectable_effects(watchlist(("a", "strict", 1.0)), [facts("a", "strict")], 3)
    twice = detectable_effects(
        watchlist(("a", "strict", 1.0), ("a", "lenient", 2.0)), [facts("a", "strict"), facts("a", "lenient")], 3
    )
    assert once == twice and [one.items for one in once] == list(ITEMS.values())
    other = detectable_effects(
        watchlist(("a", "strict", 1.0), ("b", "strict", 1.0)), [facts("a", "strict"), facts("b", "strict")], 3
    )
    assert [one.items for one in other] == [2 * count for count in ITEMS.values()]
    for one, both in zip(once, other, strict=True):
        assert one.difference is not None and both.difference is not None and both.difference < one.difference
