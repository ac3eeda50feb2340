"""The claims that a card makes about its scores: only what the paired tests show, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.release.card.facts import BaselineScores, ScoreTable
from evaluation.statistics.paired import holm
from evaluation.statistics.values import Interval, PairedDifference

CLAIM_ALPHA = 0.05
"""Upper limit of the chance that anything claimed on a card is an accident of its items."""


class Standing(StrEnum):
    """The comparison of the release with a model, or a group of models, in one skill."""

    AHEAD = "better"
    LEVEL = "not shown to differ"
    BEHIND = "worse"


Standings = tuple[Standing, ...]
"""The standings to one model, one per skill."""


@dataclass(frozen=True)
class SkillVerdict:
    """The release against the strongest baseline of one skill: the one with the highest score on the report split.

    lead: the release's score minus the baseline's. others: (standing, names) of weaker baselines to which the release
    stands worse than to the strongest, if there are any.
    """

    skill: str
    standing: Standing
    own: Interval
    baseline: BaselineScores
    baseline_score: Interval
    lead: PairedDifference
    others: tuple[tuple[Standing, tuple[str, ...]], ...]


def find_standings(table: ScoreTable) -> tuple[Standings, ...]:
    """The release's standing by each lead: a row per row of the table, a column per skill.

    All leads of the table are tested together, two-sided, by Holm's method: the chance that any model that is neither
    better nor worse is called so is at most `CLAIM_ALPHA`. The interval must exclude zero as well, so that no claim
    contradicts the interval printed with it.
    """
    leads = [lead for other in table.others for lead in other.leads]
    shown = iter(holm([lead.two_sided for lead in leads], CLAIM_ALPHA))
    return tuple(tuple(_standing(lead, next(shown)) for lead in other.leads) for other in table.others)


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


def give_verdicts(table: ScoreTable) -> tuple[SkillVerdict, ...]:
    """The verdict on each skill, none of which flatters: of equally strong baselines, the hardest to beat counts."""
    standings = find_standings(table)[: len(table.baselines)]
    rows = list(zip(table.baselines, standings, strict=True))
    return tuple(_verdict(table, rows, column) for column in range(len(table.skills))) if rows else ()


def _verdict(table: ScoreTable, rows: Sequence[tuple[BaselineScores, Standings]], column: int) -> SkillVerdict:
    hardness = list(Standing)

    def strength(row: tuple[BaselineScores, Standings]) -> tuple[float, int, bool]:
        baseline, standings = row
        return baseline.scores[column].mean, hardness.index(standings[column]), baseline.repo is not None

    strongest, own = max(rows, key=strength)
    others = {
        standing: tuple(baseline.name for baseline, row in rows if row[column] is standing)
        for standing in hardness[hardness.index(own[column]) + 1 :]
    }
    return SkillVerdict(
        skill=table.skills[column],
        standing=own[column],
        own=table.scores[column],
        baseline=strongest,
        baseline_score=strongest.scores[column],
        lead=strongest.leads[column],
        others=tuple((standing, names) for standing, names in others.items() if names),
    )


def list_unbeaten(table: ScoreTable) -> tuple[str, ...]:
    """The baselines that the release is not shown to beat at any skill; the gate's finding holds if there are none."""
    rows = zip(table.baselines, find_standings(table), strict=False)
    return tuple(baseline.name for baseline, row in rows if Standing.AHEAD not in row)


def choose_bold(table: ScoreTable) -> tuple[tuple[bool, ...], ...]:
    """Choose the scores to set in bold: a row for the release, then one per other row; a column per skill.

    The highest score of a column is bold if chance does not explain it: the release's if it is ahead of every other
    row, another row's if the release is behind it.
    """
    rows = find_standings(table)
    columns = [_bold_column(table, rows, column) for column in range(len(table.skills))]
    return tuple(zip(*columns, strict=True))


def _bold_column(table: ScoreTable, rows: Sequence[Standings], column: int) -> list[bool]:
    best = max(scores[column].mean for scores in (table.scores, *(other.scores for other in table.others)))
    others = [
        row[column] is Standing.BEHIND and other.scores[column].mean == best
        for other, row in zip(table.others, rows, strict=True)
    ]
    return [combine_standings(row[column] for row in rows) is Standing.AHEAD, *others]
