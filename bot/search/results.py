"""The results of search and gate, as frozen values that the ledger keeps. Quick to import, because `show` reads them.

A renamed field needs a migration of the ledger (`bot.ledger.migration`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from evaluation.statistics.values import Interval


class BaselineKind(StrEnum):
    """The kind of a baseline."""

    PLAIN = "plain merge"
    SOURCE = "source"
    BASE = "base"
    RELEASE = "release"
    """Another release of the same cycle, which a card may show beside its own."""


SEARCHING = "searching"
"""The title of the search's bar, which counts answers to items."""


@dataclass(frozen=True)
class AuditionRow:
    """A model in the audition.

    repo, sha: the model at its commit. role: `base`, `carrier`, `pinned`, or `candidate` for a place. scores: one per
    skill; empty if it could not be scored. chosen: whether it is a source of the cycle. reason: why, or why not.
    """

    repo: str
    sha: str
    role: str
    scores: tuple[float, ...]
    chosen: bool
    reason: str


@dataclass(frozen=True)
class AuditionSummary:
    """How the sources were chosen among more than may be merged.

    items: number of items of the search split that each model answered. places: how many could be chosen. rows: the
    base, then the others, best first by rank.
    """

    items: int
    places: int
    rows: tuple[AuditionRow, ...]

    @property
    def candidates(self) -> tuple[AuditionRow, ...]:
        """The models that could be chosen or not."""
        return tuple(row for row in self.rows if row.role == "candidate")


@dataclass(frozen=True)
class SearchSummary:
    """A search in numbers.

    candidates: number of recipes tried.
    generations: (recipes scored so far, hypervolume) after each generation.
    points: skill scores of every candidate that answered the whole search split without failure.
    front: digests of recipes.
    seconds: wall time of scoring.
    reasons: (reason of a failure, number of candidates that failed for it).
    fully_scored: number of candidates that answered every item of the search split.
    item_scores: number of items that all candidates answered.
    """

    candidates: int
    failed: int
    generations: tuple[tuple[int, float], ...]
    points: tuple[tuple[float, ...], ...]
    front: tuple[str, ...]
    seconds: float
    stopped: str
    reasons: tuple[tuple[str, int], ...]
    fully_scored: int = 0
    item_scores: int = 0


@dataclass(frozen=True)
class ModelledRecipe:
    """A recipe by its digest, with its measured scores and those that the model of the scores expects of it."""

    recipe: str
    scores: tuple[float, ...]
    expected: tuple[float, ...]


@dataclass(frozen=True)
class FrontChoice:
    """A front that was chosen by a model of the scores over the genes, which smooths luck away.

    among: digest of the scores that it was chosen from. members: digests of the recipes on it. put_in: those of them
    that others surpass by measured scores. left_out: recipes that none surpasses by measured scores, but are not on it.
    """

    STAGE: ClassVar = "front"

    among: str
    members: tuple[str, ...]
    put_in: tuple[ModelledRecipe, ...]
    left_out: tuple[ModelledRecipe, ...]

    def describe(self) -> str:
        """The choice in words."""
        if not (self.put_in or self.left_out):
            return "the front is chosen by the scores that the model expects: the one that the measured scores give"
        return (
            f"the front is chosen by the scores that the model expects: {len(self.put_in)} of {len(self.members)} "
            f"members are put in by it, and {len(self.left_out)} with the luckiest scores are left out"
        )


@dataclass(frozen=True)
class GeneralisationGap:
    """How much of what a search gained is there on items that it has not seen.

    search, validation: hypervolume of the front on each split. search_gain, validation_gain: what the front adds to the
    hypervolume of the baselines there. low, high: 95 % limits of the difference of these gains.
    """

    STAGE: ClassVar = "generalisation"

    search: float
    validation: float
    search_gain: float
    validation_gain: float
    low: float
    high: float

    @property
    def gap(self) -> float:
        """What the search gained by the luck of its items; below 0 if the front gains more on others."""
        return self.search_gain - self.validation_gain

    @property
    def is_luck(self) -> bool:
        """Whether the items show that the search gained by luck: the difference and its limits are above 0."""
        return min(self.gap, self.low) > 0

    def describe(self) -> str:
        """The comparison in words."""
        covers = (
            f"the front covers {self.search:.4f} on the search split, which it was chosen by, and "
            f"{self.validation:.4f} on the validation split; beyond sources, base and plain merges these are "
            f"{self.search_gain:.4f} and {self.validation_gain:.4f}"
        )
        limits = f"{self.gap:+.4f}, 95 % from {self.low:+.4f} to {self.high:+.4f}"
        if self.is_luck:
            return f"{covers}: {min(1.0, self.gap / self.search_gain):.0%} of the search's gain was luck ({limits})"
        if max(self.gap, self.high) < 0:
            return f"{covers}: more where it was not chosen ({limits}), as validation has the easier items for it"
        return f"{covers}: a difference that these items cannot tell from none ({limits})"


@dataclass(frozen=True)
class RecallSummary:
    """What a cycle recalled of earlier cycles, in numbers.

    cycles: the ids of those that its recipes are from, newest first. repeats: the cycle whose search this one repeats,
    with all that it recalled; None for a new search.
    recipes: members of earlier fronts. carried: those of them in the first population. renewed: number of these in
    which a newer commit took a model's place. reduced: in which a model is gone. left_out: (why others are not in the
    first population, how many).
    known, known_baselines: recipes and baselines with known scores on all search items. item_scores: their number.
    models: number of other models with known scores on the same items.
    """

    cycles: tuple[str, ...]
    repeats: str | None
    recipes: int
    carried: int
    renewed: int
    reduced: int
    known: int
    known_baselines: int
    item_scores: int
    models: int
    left_out: tuple[tuple[str, int], ...]

    def describe(self) -> list[str]:
        """The numbers in words, a line each; nothing where there was nothing to recall."""
        if self.repeats is not None:
            return [f"the search of {self.repeats} again, whose scores are known"]
        if not self.recipes:
            return []
        notes = [
            *([f"{self.renewed} with a newer commit of a model"] if self.renewed else []),
            *([f"{self.reduced} without a model that is gone"] if self.reduced else []),
        ]
        of = f"{self.recipes} recipes on the fronts of {', '.join(self.cycles)}"
        lines = [f"carried over: {self.carried} of {of}{'; ' if notes else ''}{', '.join(notes)}"]
        lines += [f"not carried over: {count}: {reason}" for reason, count in self.left_out]
        known = f"{self.known} recipes and {self.known_baselines} baselines"
        lines.append(f"known before: {self.item_scores:,} item scores, those of {known}")
        if self.models:
            lines.append(f"the estimates may learn from {self.models} other models that answered the same items")
        return lines


@dataclass(frozen=True)
class RecallPlan:
    """What a run would recall of earlier cycles.

    cycles, recipes, carried: as RecallSummary's. repeats: the cycle whose search it would repeat, unless a task or a
    version has changed since; None for a new search.
    """

    cycles: tuple[str, ...]
    repeats: str | None
    recipes: int
    carried: int

    def describe(self) -> str:
        """The numbers in words."""
        if self.repeats is not None:
            return f"the search of {self.repeats} again, at no cost, unless a task or a version has changed since"
        of = f"{self.recipes} recipes on the fronts of {', '.join(self.cycles)}"
        return f"{self.carried} of {of} in the first population"


@dataclass(frozen=True)
class EarlierMember:
    """A recipe, by its digest, on the front of an earlier cycle."""

    cycle: str
    recipe: str


@dataclass(frozen=True)
class ScoredModel:
    """A recipe, by its digest, and the tasks (`SkillTask.key`) of which all items of the search split had scores.

    Whole tasks, by name, because more of its scores may be known when a cycle is resumed.
    """

    recipe: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Recalled:
    """What a cycle recalled, by digests, so that it sees the same when it is resumed.

    search: digest of what decides its search besides the budget and the items. eval_set: digest of the search split's
    evaluation set. members: earlier recipes to carry over, the most important first. known: digests of today's recipes
    that had all their scores. models: other recipes whose scores the estimates may learn from.
    """

    STAGE: ClassVar = "recall"

    search: str
    eval_set: str
    members: tuple[EarlierMember, ...]
    known: tuple[str, ...]
    models: tuple[ScoredModel, ...]
    summary: RecallSummary


@dataclass(frozen=True)
class Comparison:
    """A merge against one baseline in one skill.

    difference: paired difference of the scores, with its 95 % limits.
    p_value: one-sided p-value that the merge is not better, before any correction.
    """

    baseline: str
    skill: str
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class GuardResult:
    """A merge beside the reference of one guard, on one split.

    guard: the guard's name. reference: name of the model compared with. max_drop: most that the score may be below the
    reference's. difference: paired difference to the reference, with its 95 % limits. limit: its one-sided lower limit
    at the gate's confidence.
    """

    guard: str
    reference: str
    max_drop: float
    score: Interval
    reference_score: Interval
    difference: Interval
    limit: float

    @property
    def is_kept(self) -> bool:
        """Whether the items show that the merge lost less than it may."""
        return self.limit > -self.max_drop


@dataclass(frozen=True)
class GateResult:
    """The gate's decision on one front member.

    recipe: digest of its recipe. scores: validation scores in the order of the skills; empty if it was not scored.
    p_value: p-value after the corrections for baselines and skills. alpha: its threshold in Holm's method. guards: its
    results on the validation split, in the watchlist's order; empty if it was not scored.
    """

    recipe: str
    scores: tuple[float, ...]
    passed: bool
    reason: str
    p_value: float
    alpha: float
    comparisons: tuple[Comparison, ...]
    guards: tuple[GuardResult, ...] = ()


@dataclass(frozen=True)
class MeasuredRow:
    """The report scores of a release or a baseline, one per skill.

    name: the release's role or the baseline's name. kind: "release", or the kind of baseline. guards: a release's
    results on the report split.
    """

    name: str
    kind: str
    scores: tuple[Interval, ...]
    guards: tuple[GuardResult, ...] = ()
