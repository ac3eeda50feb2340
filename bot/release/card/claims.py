"""The claims that a card makes about its scores: only what the paired tests show, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.release.card.facts import BaselineScores, ScoreTable
from bot.search.results import BaselineKind
from evaluation.statistics.paired import holm
from evaluation.statistics.values import PairedDifference

CLAIM_ALPHA = 0.05
"""Upper limit of the chance that anything claimed on a card is an accident of its items."""


class Standing(StrEnum):
    """The comparison of the release with a model, or a group of models, in one skill."""

    AHEAD = "ahead of all"
    LEVEL = "not shown to differ from one at least, and behind none"
    BEHIND = "behind one at least"


@dataclass(frozen=True)
class Claim:
    """A claim about one skill; `baseline` is the best of the models that the release has this standing to."""

    skill: str
    standing: Standing
    own: float
    baseline: str
    baseline_score: float


def find_standings(table: ScoreTable) -> tuple[tuple[Standing, ...], ...]:
    """The release's standing by each lead: a row per baseline, a column per skill.

    All leads of the table are tested together, two-sided, by Holm's method: the chance that any model that is neither
    better nor worse is called so is at most `CLAIM_ALPHA`. The interval must exclude zero as well, so that no claim
    contradicts the interval printed with it.
    """
    leads = [lead for baseline in table.baselines for lead in baseline.leads]
    shown = iter(holm([lead.two_sided for lead in leads], CLAIM_ALPHA))
    return tuple(tuple(_standing(lead, next(shown)) for lead in baseline.leads) for baseline in table.baselines)


def _standing(lead: PairedDifference, shown: bool) -> Standing:
    if shown and lead.low > 0:
        return Standing.AHEAD
    return Standing.BEHIND if shown and lead.high < 0 else Standing.LEVEL


def combine_standings(single: Iterable[Standing]) -> Standing:
    """The release's standing against a group, from its standing against each model."""
    found = set(single)
    if Standing.BEHIND in found:
        return Standing.BEHIND
    return Standing.AHEAD if found == {Standing.AHEAD} else Standing.LEVEL


def make_claims(table: ScoreTable, kind: BaselineKind) -> dict[Standing, list[Claim]]:
    """The claim about each skill against all models of a kind, by standing; empty if there are none."""
    rows = zip(table.baselines, find_standings(table), strict=True)
    baselines = [(baseline, row) for baseline, row in rows if baseline.kind is kind]
    made = [_claim(table, baselines, column) for column in range(len(table.skills))] if baselines else []
    by_standing = {standing: [claim for claim in made if claim.standing is standing] for standing in Standing}
    return {standing: found for standing, found in by_standing.items() if found}


def _claim(table: ScoreTable, baselines: Sequence[tuple[BaselineScores, tuple[Standing, ...]]], column: int) -> Claim:
    position = combine_standings(row[column] for _, row in baselines)
    named = [baseline for baseline, row in baselines if row[column] is position]
    best = max(named, key=lambda baseline: baseline.scores[column].mean)
    own, other = table.scores[column].mean, best.scores[column].mean
    return Claim(table.skills[column], position, own, best.name, other)


def choose_bold(table: ScoreTable) -> tuple[tuple[bool, ...], ...]:
    """Choose the scores to set in bold: a row for the release, then one per baseline; a column per skill.

    The highest score of a column is bold if chance does not explain it: the release's if it is ahead of every
    baseline, a baseline's if the release is behind it.
    """
    rows = find_standings(table)
    columns = [_bold_column(table, rows, column) for column in range(len(table.skills))]
    return tuple(zip(*columns, strict=True))


def _bold_column(table: ScoreTable, rows: Sequence[tuple[Standing, ...]], column: int) -> list[bool]:
    best = max(scores[column].mean for scores in (table.scores, *(other.scores for other in table.baselines)))
    others = [
        row[column] is Standing.BEHIND and baseline.scores[column].mean == best
        for baseline, row in zip(table.baselines, rows, strict=True)
    ]
    return [combine_standings(row[column] for row in rows) is Standing.AHEAD, *others]
