"""Past cycles from the ledger, as frozen values for `status` and `show`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.discovery.candidate import Verdict
from bot.ledger.decisions import ReviewDecision, cycle_decisions
from bot.ledger.ledger import Cycle, Ledger, ReleaseEntry, State
from bot.lock import is_home_held
from bot.search.results import (
    AuditionSummary,
    FrontChoice,
    GateResult,
    GeneralisationGap,
    MeasuredRow,
    Recalled,
    RecallSummary,
    SearchSummary,
)
from bot.watchlist.watchlist import Watchlist

INTERRUPTED = "interrupted: the next run resumes it"


@dataclass(frozen=True)
class CycleSummary:
    """One cycle in one line."""

    cycle: Cycle
    releases: tuple[ReleaseEntry, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return _cycle_json(self.cycle) | {"releases": [asdict(release) for release in self.releases]}


@dataclass(frozen=True)
class CyclePage:
    """Everything about one cycle. Fields of stages that it has not reached are empty or None.

    recalled: what the search began with from earlier cycles.
    front: (recipe digest, scores on the search split) after the newest generation. choice: how a model of the scores
    chose it, where there was one. gap: how much of the search's gain is there on the validation split. decisions: the
    reviewers', one for each release at most.
    """

    cycle: Cycle
    skills: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    recalled: RecallSummary | None
    audition: AuditionSummary | None
    search: SearchSummary | None
    front: tuple[tuple[str, tuple[float, ...]], ...]
    gate_results: tuple[GateResult, ...]
    choice: FrontChoice | None
    gap: GeneralisationGap | None
    measured: tuple[MeasuredRow, ...]
    releases: tuple[ReleaseEntry, ...]
    decisions: tuple[ReviewDecision, ...]
    report: str | None

    def as_json(self) -> dict[str, object]:
        """Plain values, without the points of the search."""
        search = None
        if self.search is not None:
            search = {key: value for key, value in asdict(self.search).items() if key != "points"}
        return _cycle_json(self.cycle) | {
            "skills": list(self.skills),
            "candidates": [asdict(verdict) for verdict in self.verdicts],
            "recalled": asdict(self.recalled) if self.recalled else None,
            "audition": None if self.audition is None else asdict(self.audition),
            "search": search,
            "front": [{"recipe": recipe, "scores": list(scores)} for recipe, scores in self.front],
            "gate": [asdict(gate_result) for gate_result in self.gate_results],
            "shrinkage": asdict(self.choice) if self.choice else None,
            "generalisation": asdict(self.gap) if self.gap else None,
            "measured": [asdict(row) for row in self.measured],
            "releases": [asdict(release) for release in self.releases],
            "decisions": [
                {"role": one.role, "verdict": str(one.verdict), "who": one.who, "when": one.when.isoformat()}
                | {"note": one.note}
                for one in self.decisions
            ],
            "report": self.report,
        }


def list_cycles(ledger: Ledger) -> tuple[CycleSummary, ...]:
    """The cycles, newest first."""
    return tuple(CycleSummary(_with_note(cycle, ledger), ledger.releases(cycle.id)) for cycle in ledger.cycles())


def newest_cycle(ledger: Ledger, watchlist: str | None = None) -> str:
    """The id of the newest cycle, of a watchlist if one is named; ShoalError if there is none."""
    found = ledger.cycles(watchlist)
    if found:
        return found[0].id
    known = ", ".join(sorted({cycle.watchlist for cycle in ledger.cycles()}))
    if watchlist is None or not known:
        raise ShoalError(f"{ledger.path}: holds no cycle yet; run a watchlist first")
    raise ShoalError(f"--watchlist: got {watchlist!r}: has no cycle in {ledger.path}; choose from {known}")


def read_cycle(ledger: Ledger, home: Home, cycle: str) -> CyclePage:
    """One cycle by its id; ShoalError if there is none."""
    entry = _with_note(ledger.cycle(cycle), ledger)
    watchlist = ledger.kept(cycle, "watchlist", Watchlist)
    recalled = ledger.kept(cycle, Recalled.STAGE, Recalled)
    report = home.report(cycle)
    return CyclePage(
        cycle=entry,
        skills=tuple(skill.name for skill in watchlist.skills) if watchlist else (),
        verdicts=ledger.verdicts(cycle),
        recalled=recalled.summary if recalled else None,
        audition=ledger.kept(cycle, "audition", AuditionSummary),
        search=ledger.kept(cycle, "search", SearchSummary),
        front=ledger.front(cycle),
        gate_results=ledger.kept(cycle, "gate", tuple[GateResult, ...]) or (),
        choice=ledger.kept(cycle, FrontChoice.STAGE, FrontChoice),
        gap=ledger.kept(cycle, GeneralisationGap.STAGE, GeneralisationGap),
        measured=ledger.kept(cycle, "measured", tuple[MeasuredRow, ...]) or (),
        releases=ledger.releases(cycle),
        decisions=tuple(cycle_decisions(ledger, cycle).values()),
        report=str(report) if report.exists() else None,
    )


def _with_note(cycle: Cycle, ledger: Ledger) -> Cycle:
    """The cycle with a note on how it goes on, where it has not ended well."""
    if cycle.state is State.RUNNING:
        held = is_home_held(Home(ledger.path.parent))
        return replace(cycle, note="running, or interrupted: then the next run resumes it" if held else INTERRUPTED)
    return replace(cycle, note=f"{cycle.note} (the next run resumes it)") if cycle.state is State.FAILED else cycle


def _cycle_json(cycle: Cycle) -> dict[str, object]:
    return asdict(cycle) | {
        "state": str(cycle.state),
        "started": cycle.started.isoformat(),
        "finished": cycle.finished.isoformat() if cycle.finished else None,
    }
