"""Item counts with which nothing could pass the gate: known before a run from the tasks, and in part from the file."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from bot.watchlist.sections import SkillSection
from bot.watchlist.watchlist import Watchlist
from evaluation.statistics.power import identical_limit, smallest_p_value
from merging.mergekit.config import KeyPath


def find_hopeless_counts(watchlist: Watchlist, items: Mapping[str, int]) -> Iterator[tuple[KeyPath, str]]:
    """The path of a key, and why no merge could pass the gate with these validation items.

    items: number of validation items by task name, or an upper limit of it.
    """
    skills, alpha = len(watchlist.skills), 1 - watchlist.gate.confidence
    best = min(skills * smallest_p_value(*task_items(skill, items)) for skill in watchlist.skills)
    if best > alpha:
        counts = ", ".join(f"{skill.name} {sum(task_items(skill, items)[1])}" for skill in watchlist.skills)
        yield (
            ("items", "validation"),
            f"leaves the gate too few items ({counts}): even a merge that is right wherever its sources are wrong "
            f"would have p = {best:.2g}, and gate.confidence asks for {alpha:.2g}; give a skill at least "
            f"{math.ceil(math.log2(skills / alpha))}",
        )
    for index, guard in enumerate(watchlist.guards):
        weights, counts_of_tasks = task_items(guard, items)
        limit = identical_limit(weights, counts_of_tasks, watchlist.gate.confidence)
        if limit <= -guard.max_drop:
            yield (
                ("guards", index, "max_drop"),
                f"cannot be shown with {sum(counts_of_tasks)} validation items: even a merge that answers all of them "
                f"as its {guard.reference} does may have lost {-limit:.3f}; give more items, or raise it above that",
            )


def task_items(skill: SkillSection, items: Mapping[str, int]) -> tuple[list[float], list[int]]:
    """The weight and the number of items of each task of a skill.

    items: by task name. Several uses of one task (by two metrics, say) count as one, because they share their items.
    """
    weights: dict[str, float] = defaultdict(float)
    for use in skill.tasks:
        weights[use.task] += use.weight
    return list(weights.values()), [items[name] for name in weights]
