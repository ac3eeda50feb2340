"""What a card may claim of its scores: only what the paired tests show, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.release.card.facts import BaselineScores, Lead, ScoreTable
from bot.search.results import BaselineKind
from evaluation.statistics.paired import holm

CLAIM_ALPHA = 0.05
"""The chance that anything claimed on a card is an accident of its items, at most."""


class Standing(StrEnum):
    """Where the release stands against a model, or a group of models, at one skill."""

    AHEAD = "ahead of all"
    LEVEL = "not told apart from one at least, and behind none"
    BEHIND = "behind one at least"


@dataclass(frozen=True)
class Claim:
    """What the tests allow to say of one skill; `baseline`: the best of those with this standing to the release."""

    skill: str
    standing: Standing
    own: float
    baseline: str
    baseline_score: float


def standings(table: ScoreTable) -> tuple[tuple[Standing, ...], ...]:
    """Where each lead puts the release: a row per contender, a column per skill.

    All leads of the table are tested together by Holm's method, two-sided: the chance that any model is called better
    or worse that is neither is at most `CLAIM_ALPHA`. An interval that leaves out zero is asked for besides, so that
    no claim contradicts what stands beside it.
    """
    leads = [lead for baseline in table.baselines for lead in baseline.leads]
    shown = iter(holm([lead.p_value for lead in leads], CLAIM_ALPHA))
    return tuple(tuple(_standing(lead, next(shown)) for lead in baseline.leads) for baseline in table.baselines)


def _standing(lead: Lead, shown: bool) -> Standing:
    if shown and lead.low > 0:
        return Standing.AHEAD
    return Standing.BEHIND if shown and lead.high < 0 else Standing.LEVEL


def overall(single: Iterable[Standing]) -> Standing:
    """Where the release stands against a group, from where it stands against each."""
    found = set(single)
    if Standing.BEHIND in found:
        return Standing.BEHIND
    return Standing.AHEAD if found == {Standing.AHEAD} else Standing.LEVEL


def claims(table: ScoreTable, kind: BaselineKind) -> dict[Standing, list[Claim]]:
    """What may be said of each skill against all models of a kind, by standing; empty without such models."""
    rows = zip(table.baselines, standings(table), strict=True)
    baselines = [(baseline, row) for baseline, row in rows if baseline.kind is kind]
    made = [_claim(table, baselines, column) for column in range(len(table.skills))] if baselines else []
    by_standing = {standing: [claim for claim in made if claim.standing is standing] for standing in Standing}
    return {standing: found for standing, found in by_standing.items() if found}


def _claim(table: ScoreTable, baselines: Sequence[tuple[BaselineScores, tuple[Standing, ...]]], column: int) -> Claim:
    position = overall(row[column] for _, row in baselines)
    named = [baseline for baseline, row in baselines if row[column] is position]
    best = max(named, key=lambda baseline: baseline.scores[column].mean)
    own, other = table.scores[column].mean, best.scores[column].mean
    return Claim(table.skills[column], position, own, best.name, other)


def bold(table: ScoreTable) -> tuple[tuple[bool, ...], ...]:
    """Which scores are set in bold: a row for the release, then one per contender; a column per skill.

    It is the highest of its column, where chance does not explain it: the release's if it is ahead of every
    contender, a contender's if the release is behind it.
    """
    rows = standings(table)
    columns = [_bold_column(table, rows, column) for column in range(len(table.skills))]
    return tuple(zip(*columns, strict=True))


def _bold_column(table: ScoreTable, rows: Sequence[tuple[Standing, ...]], column: int) -> list[bool]:
    best = max(scores[column].mean for scores in (table.scores, *(other.scores for other in table.baselines)))
    others = [
        row[column] is Standing.BEHIND and baseline.scores[column].mean == best
        for baseline, row in zip(table.baselines, rows, strict=True)
    ]
    return [overall(row[column] for row in rows) is Standing.AHEAD, *others]
