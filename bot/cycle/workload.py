"""The work of a run: how many models each stage scores on how many items, and the time that this takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split


class Speed(Protocol):
    """The speed of one worker on this machine with the models of a pool."""

    def model_seconds(self, split: Split, items: int, *, is_candidate: bool) -> float:
        """Seconds in which it builds one model and takes this many item scores of it.

        is_candidate: whether the model is a candidate of the search, which may draw otherwise than tasks say.
        """


@dataclass(frozen=True)
class StageWork:
    """One stage of a run at its most: no score is in the ledger yet.

    models: number of models that it scores. items: item scores of each. candidates: those of the models that the
    search has made. one_by_one: whether a single worker scores them. limit: seconds after which the watchlist ends the
    stage; None without a limit.
    """

    stage: str
    split: Split
    models: int
    items: int
    candidates: int = 0
    one_by_one: bool = False
    limit: float | None = None

    @property
    def item_scores(self) -> int:
        """Item scores of all models."""
        return self.models * self.items


@dataclass(frozen=True)
class AuditionWork:
    """The models that audition, the base among them, and the item scores of each."""

    models: int
    items: int


@dataclass(frozen=True)
class StageCost:
    """The work of a stage, and its time with the workers of a run.

    seconds: None where the machine was not measured. limited: whether the watchlist's own limit ends the stage then.
    """

    stage: str
    models: int
    item_scores: int
    seconds: float | None
    limited: bool = False


def list_stages(
    watchlist: Watchlist,
    items: Mapping[Split, int],
    baselines: int,
    audition: AuditionWork | None = None,
    *,
    staged: bool,
) -> tuple[StageWork, ...]:
    """The stages of a run in their order.

    items: item scores of one model on each split. baselines: number of models that merges must beat.
    audition: None where there is none. staged: whether validation scores choose what the search does next. The size of
    the front is not known before the search; it is taken to be that of the population.
    """
    front, releases = watchlist.search.population, watchlist.publish.max_releases
    budget = watchlist.search.budget
    search, validation, report = (items[split] for split in (Split.SEARCH, Split.VALIDATION, Split.REPORT))
    limit = None if budget.minutes is None else 60 * budget.minutes
    first = [StageWork("audition, search split", Split.SEARCH, audition.models, audition.items)] if audition else []
    choice = [StageWork("choice between the stages", Split.VALIDATION, front, validation, front)] if staged else []
    return (
        *first,
        StageWork("baselines, search split", Split.SEARCH, baselines, search),
        StageWork("search", Split.SEARCH, budget.candidates, search, budget.candidates, limit=limit),
        *choice,
        StageWork("front, validation split", Split.VALIDATION, front, validation, front),
        StageWork("baselines, validation split", Split.VALIDATION, baselines, validation),
        StageWork("written releases, validation split", Split.VALIDATION, releases, validation, releases, True),
        StageWork("releases and baselines, report split", Split.REPORT, releases + baselines, report, releases),
    )


def cost_stages(stages: Sequence[StageWork], workers: int, speed: Speed | None) -> tuple[StageCost, ...]:
    """The cost of stages with this many workers. speed: None where the machine was not measured."""
    return tuple(_cost_stage(stage, 1 if stage.one_by_one else workers, speed) for stage in stages)


def _cost_stage(stage: StageWork, workers: int, speed: Speed | None) -> StageCost:
    if speed is None:
        return StageCost(stage.stage, stage.models, stage.item_scores, None)
    # The last models of a stage leave workers without work.
    share = stage.candidates / stage.models if stage.models else 0.0
    own, others = (speed.model_seconds(stage.split, stage.items, is_candidate=made) for made in (True, False))
    seconds = math.ceil(stage.models / workers) * (share * own + (1 - share) * others)
    limited = stage.limit is not None and seconds > stage.limit
    return StageCost(stage.stage, stage.models, stage.item_scores, min(seconds, stage.limit or seconds), limited)
