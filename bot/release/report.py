"""The one-page report of a cycle: from frozen facts to Markdown, whether or not anything was published."""

from __future__ import annotations

from dataclasses import dataclass

from bot.hub.candidate import Verdict
from bot.release.card.facts import Estimate, SearchFacts
from templates.markdown import render


@dataclass(frozen=True)
class ScoreRow:
    """A model's name and its scores, one per skill."""

    name: str
    scores: tuple[Estimate, ...]


@dataclass(frozen=True)
class FrontFacts:
    """A front member at the gate: its scores on the validation split (none if it failed), and the verdict.

    `merge` is the kind of merge in a few words.
    """

    digest: str
    merge: str
    scores: tuple[Estimate, ...]
    passed: bool
    reason: str


@dataclass(frozen=True)
class ReleaseFacts:
    """A release with its scores on the report split; `commit` is None while it waits for a person."""

    repo: str
    role: str
    digest: str
    commit: str | None
    scores: tuple[Estimate, ...]


@dataclass(frozen=True)
class CycleFacts:
    """One cycle. `outcome` is one sentence; `search` is None if the cycle ended before it.

    `baselines` are the sources and plain merges on the validation split, which the gate compares with;
    `hypervolumes` has one value per generation. Times are texts as the ledger keeps them.
    """

    watchlist: str
    cycle: str
    hub_url: str
    started: str
    finished: str
    outcome: str
    skills: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    search: SearchFacts | None
    hypervolumes: tuple[float, ...]
    baselines: tuple[ScoreRow, ...]
    front: tuple[FrontFacts, ...]
    releases: tuple[ReleaseFacts, ...]


def write_report(facts: CycleFacts) -> str:
    """The report as Markdown; repositories are links to the cycle's Hub."""
    return render(
        "cycle_report.md.j2",
        facts=facts,
        taken=sum(verdict.accepted for verdict in facts.verdicts),
        passed=sum(member.passed for member in facts.front),
        address=lambda repo: f"{facts.hub_url.rstrip('/')}/{repo}",
    )
