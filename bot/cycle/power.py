"""How small a difference a watchlist's items can show, split by split: told before anything is spent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.release.card.claims import CLAIM_ALPHA
from bot.search.gate import first_threshold
from bot.watchlist.sections import SkillSection, WatchlistFields
from evaluation.splits import Split
from evaluation.statistics.power import MOST_DISCORDANT, POWER, detectable_difference, effective_items

if TYPE_CHECKING:
    from evaluation.harness.tasks import TaskDescription

ASSUMPTION = (
    f"A true difference of that size is found in {POWER:.0%} of all cases, smaller ones less often. For scores "
    f"between 0 and 1, if just one of the two solves {MOST_DISCORDANT:.0%} of the items; related models differ on "
    "fewer, and then smaller differences can be seen."
)


@dataclass(frozen=True)
class DetectableEffect:
    """The smallest difference between two models that one split shows in one skill.

    items: of all the skill's tasks, each counted once. tests: how many are corrected for. alpha: one-sided level of a
    single test after the correction. difference: of scores between 0 and 1; None if the items are too few to show any.
    """

    skill: str
    split: Split
    items: int
    tests: int
    alpha: float
    difference: float | None

    @property
    def words(self) -> str:
        """In a person's words."""
        if self.difference is None:
            return f"with {self.items} items you can see no difference at all"
        return f"with {self.items} items you cannot see less than ±{100 * self.difference:.1f} points"


def detectable_effects(
    watchlist: WatchlistFields, tasks: Sequence[TaskDescription], baselines: int
) -> tuple[DetectableEffect, ...]:
    """For each skill what the search, the gate and the card can tell apart.

    search: two candidates, one comparison at the gate's confidence, nothing corrected. validation: a merge against its
    rival under the gate's correction, for a front as large as the population. report: a lead on the card, two-sided
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
        _visible(skill, [task for task in tasks if task.skill == skill.name], split, *tested[split])
        for skill in watchlist.skills
        for split in Split
    )


def _visible(
    skill: SkillSection, tasks: Sequence[TaskDescription], split: Split, tests: int, alpha: float
) -> DetectableEffect:
    """Uses of one task, of two metrics say, count as one: they are of the same items."""
    weights: dict[str, float] = defaultdict(float)
    for use in skill.tasks:
        weights[use.task] += use.weight
    counts = {task.task: task.items[split] for task in tasks}
    items = effective_items(list(weights.values()), [counts[name] for name in weights])
    return DetectableEffect(skill.name, split, sum(counts.values()), tests, alpha, detectable_difference(items, alpha))
