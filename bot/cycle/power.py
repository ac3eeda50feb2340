"""The smallest difference that a watchlist's items can show on each split, known before a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bot.release.card.claims import CLAIM_ALPHA
from bot.search.gate import first_threshold
from bot.watchlist.sections import SkillSection
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import TaskDescription
from evaluation.splits import Split
from evaluation.statistics.power import MOST_DISCORDANT, POWER, detectable_difference, effective_items

ASSUMPTION = (
    f"A true difference of this size is found in {POWER:.0%} of all cases, smaller ones less often. This assumes "
    f"scores between 0 and 1, and that exactly one of the two models solves {MOST_DISCORDANT:.0%} of the items; "
    "related models differ on fewer, so that smaller differences can be seen."
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
            return f"with {self.items} items you can see no difference at all"
        return f"with {self.items} items you cannot see less than ±{100 * self.difference:.1f} points"


def detectable_effects(
    watchlist: Watchlist, tasks: Sequence[TaskDescription], baselines: int
) -> tuple[DetectableEffect, ...]:
    """For each skill the smallest differences that the search, the gate and the card can show.

    search: two candidates, compared once at the gate's confidence, without correction. validation: a merge and a
    baseline under the gate's correction, for a front as large as the population. report: a lead on the card, two-sided
    and corrected for all `baselines` in all skills. `tasks` are in the order of the watchlist's skills.
    """
    skills, confidence = len(watchlist.skills), watchlist.gate.confidence
    tested = {
        Split.SEARCH: (1, 1 - confidence),
        Split.VALIDATION: (
            skills * watchlist.search.population,
            first_threshold(confidence, skills, watchlist.search.population),
        ),
        Split.REPORT: (skills * baselines, CLAIM_ALPHA / 2 / (skills * baselines)),
    }
    return tuple(
        _detectable_effect(skill, [task for task in tasks if task.skill == skill.name], split, *tested[split])
        for skill in watchlist.skills
        for split in Split
    )


def _detectable_effect(
    skill: SkillSection, tasks: Sequence[TaskDescription], split: Split, tests: int, alpha: float
) -> DetectableEffect:
    """Several uses of one task (by two metrics, say) count as one, because they share their items."""
    weights: dict[str, float] = defaultdict(float)
    for use in skill.tasks:
        weights[use.task] += use.weight
    counts = {task.task: task.items[split] for task in tasks}
    items = effective_items(list(weights.values()), [counts[name] for name in weights])
    return DetectableEffect(skill.name, split, sum(counts.values()), tests, alpha, detectable_difference(items, alpha))
