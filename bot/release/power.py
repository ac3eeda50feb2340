"""What a watchlist's items can show: the differences on each split, and whether a merge can keep the guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.release.card.claims import CLAIM_ALPHA
from bot.search.gate import first_threshold
from bot.watchlist.item_counts import find_hopeless_counts, task_items
from bot.watchlist.sections import GuardSection, SkillSection
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import TaskDescription
from evaluation.splits import Split
from evaluation.statistics.power import (
    MOST_DISCORDANT,
    POWER,
    chance_to_keep,
    detectable_difference,
    drop_to_keep,
    effective_items,
    items_to_keep,
)
from merging.mergekit.config import dotted

ASSUMPTION = (
    f"A true difference of this size is found {POWER:.0%} of the time, a smaller one less often. This assumes "
    f"scores between 0 and 1, and that exactly one of the two models solves {MOST_DISCORDANT:.0%} of the items; "
    "related models differ on fewer, so smaller differences can be seen."
)


@dataclass(frozen=True)
class DetectableEffect:
    """The smallest difference between two models that one split shows in one skill.

    items: number of items of all the skill's tasks, each counted once. tests: number of tests corrected for.
    alpha: one-sided level of a single test after the correction. difference: for scores between 0 and 1; None if the
    items are too few to show any.
    """

    skill: str
    split: Split
    items: int
    tests: int
    alpha: float
    difference: float | None

    @property
    def description(self) -> str:
        """The effect as a sentence without its subject."""
        if self.difference is None:
            return f"{self.items} items cannot show any difference"
        return f"{self.items} items can show ±{100 * self.difference:.1f} points or more"


@dataclass(frozen=True)
class GuardPower:
    """The chance that the gate sees a merge keep a guard, if it is exactly as good as the reference.

    items: number of validation items, each counted once. chance: for the same share of items that one model alone
    solves as in `DetectableEffect`. enough_items, enough_drop: the number of items or the max_drop with which the
    chance would be `POWER`.
    """

    guard: str
    items: int
    max_drop: float
    chance: float
    enough_items: int
    enough_drop: float

    @property
    def description(self) -> str:
        """The power as a sentence without its subject."""
        chance = f"with {self.items} items a merge as good as the reference passes {self.chance:.0%} of the time"
        if self.chance >= POWER:
            return chance
        return f"{chance}; for {POWER:.0%}, use {self.enough_items} items or max_drop: {self.enough_drop:.3f}"


def detectable_effects(
    watchlist: Watchlist, tasks: Sequence[TaskDescription], baselines: int, front: int
) -> tuple[DetectableEffect, ...]:
    """For each skill the smallest differences that the search, the gate and the card can show.

    search: two candidates, compared once at the gate's confidence, without correction. validation: a merge and a
    baseline under the gate's correction, for a front of this size. report: a lead on the card, two-sided and corrected
    for all `baselines` in all skills. `tasks`: all of the watchlist's.
    """
    skills, confidence = len(watchlist.skills), watchlist.gate.confidence
    tested = {
        Split.SEARCH: (1, 1 - confidence),
        Split.VALIDATION: (skills * front, first_threshold(confidence, skills, front)),
        Split.REPORT: (skills * baselines, CLAIM_ALPHA / 2 / (skills * baselines)),
    }
    return tuple(
        _detectable_effect(skill, count_items(tasks, split), split, *tested[split])
        for skill in watchlist.skills
        for split in Split
    )


def guard_powers(watchlist: Watchlist, tasks: Sequence[TaskDescription]) -> tuple[GuardPower, ...]:
    """What the validation items can show in each guard. `tasks`: all of the watchlist's."""
    alpha, counts = 1 - watchlist.gate.confidence, count_items(tasks, Split.VALIDATION)
    return tuple(_guard_power(guard, counts, alpha) for guard in watchlist.guards)


def refuse_counts(watchlist: Watchlist, tasks: Sequence[TaskDescription]) -> str | None:
    """Why no merge could pass the gate with these items, whatever its scores; None if one could."""
    for path, reason in find_hopeless_counts(watchlist, count_items(tasks, Split.VALIDATION)):
        return f"{watchlist.name}: {dotted(path)}: {reason}"
    return None


def describe_hopelessness(effects: Sequence[DetectableEffect]) -> str | None:
    """A warning if the gate would see no difference in any skill; None if it can see one."""
    gate = [effect for effect in effects if effect.split is Split.VALIDATION]
    if any(effect.difference is not None for effect in gate):
        return None
    counts = ", ".join(f"{effect.skill} {effect.items}" for effect in gate)
    return (
        f"the gate is unlikely to see any difference with so few validation items ({counts}), so a run would probably "
        "publish nothing; raise items.validation, use tasks with more documents, or lower search.population"
    )


def count_items(tasks: Sequence[TaskDescription], split: Split) -> Mapping[str, int]:
    """Number of items of each task in a split; a task that only guards use has none on the search split."""
    return {task.task: task.items[split] for task in sorted(tasks, key=lambda task: task.items[split])}


def _detectable_effect(
    skill: SkillSection, counts: Mapping[str, int], split: Split, tests: int, alpha: float
) -> DetectableEffect:
    weights, items = task_items(skill, counts)
    effective = effective_items(weights, items)
    return DetectableEffect(skill.name, split, sum(items), tests, alpha, detectable_difference(effective, alpha))


def _guard_power(guard: GuardSection, counts: Mapping[str, int], alpha: float) -> GuardPower:
    weights, items = task_items(guard, counts)
    effective, total = effective_items(weights, items), sum(items)
    return GuardPower(
        guard=guard.name,
        items=total,
        max_drop=guard.max_drop,
        chance=chance_to_keep(effective, guard.max_drop, alpha),
        # Of several tasks, all would have to grow alike.
        enough_items=round(items_to_keep(guard.max_drop, alpha) * total / effective),
        enough_drop=drop_to_keep(effective, alpha),
    )
