"""A cycle's results, from which its cards, pictures and report are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ConfigDict

from bot.hub.pool.pool import Pool
from bot.ledger.ledger import Cycle
from bot.release.scores import ModelScores
from bot.scoring.evaluator import Evaluation
from bot.scoring.resources import Resources
from bot.search.baselines import Baseline
from bot.search.guards import compare_guards
from bot.search.results import (
    AuditionSummary,
    BaselineKind,
    FrontChoice,
    GateResult,
    GeneralisationGap,
    GuardResult,
    RecallSummary,
    SearchSummary,
)
from bot.search.selection import Chosen
from bot.search.strategies.strategy import SearchStrategy
from bot.watchlist.domain import Guard
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import EvalItem, EvalSetFacts, Question, Sample
from evaluation.pictures.judges.judge import JudgeRepo
from evaluation.skills import Skill
from evaluation.splits import Split
from merging.evolution.outcomes import Outcome
from merging.recipes.recipe import Recipe

_BYTES = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
"""How the ledger keeps files."""


@dataclass(frozen=True)
class SplitResults:
    """The results of merges and baselines on one split.

    skills: the objectives. merges: by recipe digest. baselines: all that could be scored. guards: those that the split
    asks. confidence: the gate's, for the guards' limits.
    """

    eval_set: EvalSetFacts
    skills: tuple[Skill, ...]
    merges: Mapping[str, Evaluation]
    baselines: tuple[tuple[Baseline, Evaluation], ...]
    guards: tuple[Guard, ...]
    confidence: float

    def merge_scores(self, digest: str) -> ModelScores | None:
        """The scores of a merge; None if it could not be scored, or was not asked."""
        evaluation = self.merges.get(digest)
        return None if evaluation is None or evaluation.failure else self._scores(evaluation)

    def guard_results(self, digest: str) -> tuple[GuardResult, ...]:
        """A merge's results in the guards; empty if it could not be scored, or was asked without baselines."""
        evaluation = self.merges.get(digest)
        if evaluation is None or evaluation.failure or not self.baselines:
            return ()
        return compare_guards(evaluation, self.baselines, self.guards, dict(self.eval_set.directions), self.confidence)

    def baseline_scores(self) -> tuple[tuple[Baseline, ModelScores], ...]:
        """Every baseline with its scores."""
        return tuple((baseline, self._scores(evaluation)) for baseline, evaluation in self.baselines)

    def _scores(self, evaluation: Evaluation) -> ModelScores:
        return ModelScores.read(evaluation, self.skills, dict(self.eval_set.directions))


@dataclass(frozen=True)
class ShownItem:
    """A report item, and the answers to it. skill: its name. answers: (name, kind, answer), that of the release first.

    An answer is None where the model could not be asked.
    """

    question: Question
    answers: tuple[tuple[str, BaselineKind, str | None], ...]


@dataclass(frozen=True)
class GalleryRow:
    """A report item, and how it was drawn. pictures: PNG files, one for each column of the gallery, made small; None
    where it could not be drawn. own: the release's, less small."""

    item: EvalItem
    question: Question
    pictures: tuple[bytes | None, ...]
    own: bytes

    __pydantic_config__ = _BYTES


@dataclass(frozen=True)
class Gallery:
    """Report items as a release and the models that it is compared with draw them, from the same noise.

    recipe: digest of the release's. eval_set: digest of the report split's. columns: (name, kind), the release last.
    """

    recipe: str
    eval_set: str
    columns: tuple[tuple[str, BaselineKind], ...]
    rows: tuple[GalleryRow, ...]


@dataclass(frozen=True)
class CycleResults:
    """Everything that the cards, pictures and report of a cycle are made from.

    hub_url: the Hub that the cycle works with. front: recipe digest → recipe and its outcome on the search split.
    choice: how a model of the scores chose the front; None where the scores themselves give it.
    splits: what was scored on each; the merges are the front on the validation split, the releases on the report split.
    samples: recipe digest → the written release's answer to a report item that shows what it can do; without those
    that could not be asked. shown: recipe digest → report items with pictures, and who answers what. gap: how much of
    the search's gain is there on the validation split. recalled: what the search began with from earlier cycles, in
    numbers; None for nothing. audition: how the sources were chosen, where more fitted than a merge may have.
    galleries: recipe digest → some report items as several models draw them; none where models answer in words.
    judges: the repos of the models that judge pictures, with the licence that each one's card declares.
    """

    watchlist: Watchlist
    cycle: Cycle
    hub_url: str
    pool: Pool
    strategy: SearchStrategy
    resources: Resources
    summary: SearchSummary
    front: Mapping[str, tuple[Recipe, Outcome]]
    gate_results: tuple[GateResult, ...]
    chosen: tuple[Chosen, ...]
    baselines: tuple[Baseline, ...]
    splits: Mapping[Split, SplitResults]
    samples: Mapping[str, Sample]
    shown: Mapping[str, tuple[ShownItem, ...]]
    choice: FrontChoice | None = None
    gap: GeneralisationGap | None = None
    recalled: RecallSummary | None = None
    audition: AuditionSummary | None = None
    galleries: Mapping[str, Gallery] = field(default_factory=dict)
    judges: Mapping[JudgeRepo, str | None] = field(default_factory=dict)

    def recipe(self, digest: str) -> Recipe:
        """A front member's recipe."""
        return self.front[digest][0]

    def gate_result(self, digest: str) -> GateResult:
        """The gate's result for a front member."""
        return next(result for result in self.gate_results if result.recipe == digest)
