"""The one-page report of a cycle: collects its facts from the results, and renders them as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bot.home import Home
from bot.hub.discovery.candidate import Verdict
from bot.hub.pool.vocabulary import PoolVocabulary
from bot.ledger.decisions import cycle_decisions
from bot.ledger.ledger import Ledger, ReleaseEntry
from bot.release.card.facts import SearchFacts
from bot.release.card.picture_facts import DrawnFacts, PictureCounts, count_pictures, drawn_facts, group_alike
from bot.release.power import DetectableEffect, describe_hopelessness, detectable_effects
from bot.release.results import CycleResults, SplitResults
from bot.release.review import Ending
from bot.search.results import AuditionSummary, FrontChoice, GateResult, GeneralisationGap, GuardResult, RecallSummary
from evaluation.splits import Split
from evaluation.statistics.values import Interval
from merging.writing.atomic import atomic_file
from templates.markdown import render_markdown


@dataclass(frozen=True)
class ScoreRow:
    """A model's name and its scores, one per skill."""

    name: str
    scores: tuple[Interval, ...]


@dataclass(frozen=True)
class FrontFacts:
    """A front member at the gate: its scores on the validation split (none if scoring failed), and the result.

    `merge` describes the merge in a few words. `guards` are its results on the validation split.
    """

    digest: str
    merge: str
    scores: tuple[Interval, ...]
    passed: bool
    reason: str
    guards: tuple[GuardResult, ...] = ()


@dataclass(frozen=True)
class ReleaseFacts:
    """A release with its scores and guards on the report split; `commit` is None until it is published.

    decision: who decided on it, when and why; empty where nobody has, or had to. pictures: those that it drew for the
    report split; None where it answers in words.
    """

    repo: str
    role: str
    digest: str
    commit: str | None
    scores: tuple[Interval, ...]
    decision: str = ""
    guards: tuple[GuardResult, ...] = ()
    pictures: PictureCounts | None = None


@dataclass(frozen=True)
class JudgedTask:
    """A task that is answered by pictures, as a skill or guard uses it."""

    skill: str
    task: str
    metric: str
    drawn: DrawnFacts


@dataclass(frozen=True)
class CycleFacts:
    """Everything that the report of a cycle says.

    `outcome` is one line, which says how releases are reviewed that wait. `hypervolumes` has one value per generation.
    `baselines` are the sources and plain merges, with the validation scores that the gate compares with. `visible`
    are the smallest differences that the gate could see in a front of this size; `warning` says that it could hardly
    see any. `recalled` is what the search began with from earlier cycles. `vocabulary` is that of the merges; None
    where all sources have the same. `audition` is None where no more sources fitted than a merge may have. `gap` says
    how much of the search's gain is there on the validation split. `choice` says how a model of the scores chose the
    front; None where the scores themselves give it. `judged` are the tasks
    that are answered by pictures.
    """

    watchlist: str
    cycle: str
    hub_url: str
    started: str
    finished: str
    outcome: str
    skills: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    search: SearchFacts
    hypervolumes: tuple[float, ...]
    baselines: tuple[ScoreRow, ...]
    front: tuple[FrontFacts, ...]
    releases: tuple[ReleaseFacts, ...]
    visible: tuple[DetectableEffect, ...]
    warning: str | None
    recalled: RecallSummary | None = None
    vocabulary: PoolVocabulary | None = None
    audition: AuditionSummary | None = None
    gap: GeneralisationGap | None = None
    choice: FrontChoice | None = None
    judged: tuple[JudgedTask, ...] = ()


def write_cycle_report(ledger: Ledger, home: Home, results: CycleResults, ending: Ending) -> None:
    """Write the report, and keep its facts, so that it can be brought up to date."""
    cycle = results.cycle.id
    facts = cycle_facts(results, ending, ledger.verdicts(cycle), ledger.releases(cycle), datetime.now(UTC))
    ledger.keep(cycle, "report", facts, CycleFacts)
    _write(home.report(cycle), facts)


def update_cycle_report(ledger: Ledger, home: Home, cycle: str) -> None:
    """Write the report of a past cycle again with what became of its releases; that of an older shoal stays."""
    facts = ledger.kept(cycle, "report", CycleFacts)
    if facts is None:
        return
    entry, decisions = ledger.cycle(cycle), cycle_decisions(ledger, cycle)
    known = {release.role: release for release in ledger.releases(cycle)}
    releases = tuple(
        replace(
            release,
            commit=known[release.role].commit,
            decision=decisions[release.role].describe() if release.role in decisions else "",
        )
        for release in facts.releases
    )
    _write(home.report(cycle), replace(facts, outcome=f"{entry.state}: {entry.note}", releases=releases))


def _write(path: Path, facts: CycleFacts) -> None:
    with atomic_file(path) as file:
        file.write(render_report(facts).encode())


def cycle_facts(
    results: CycleResults,
    ending: Ending,
    verdicts: tuple[Verdict, ...],
    releases: Iterable[ReleaseEntry],
    finished: datetime,
) -> CycleFacts:
    """Everything that the report of a cycle says; `releases` are the ledger's, which know their commits."""
    from bot.release.card.collect import search_facts  # torch, which an update of a report does without

    validation, report = results.splits[Split.VALIDATION], results.splits[Split.REPORT]

    def front_member(result: GateResult) -> FrontFacts:
        scores = validation.merge_scores(result.recipe)
        description = results.recipe(result.recipe).describe()
        intervals = scores.intervals if scores else ()
        return FrontFacts(result.recipe, description, intervals, result.passed, result.reason, result.guards)

    def release(entry: ReleaseEntry) -> ReleaseFacts:
        scores = report.merge_scores(entry.recipe)
        intervals, guards = scores.intervals if scores else (), report.guard_results(entry.recipe)
        pictures = _count_pictures(report, entry.recipe) if scores else None
        return ReleaseFacts(
            entry.repo, entry.role, entry.recipe, entry.commit, intervals, guards=guards, pictures=pictures
        )

    visible = detectable_effects(
        results.watchlist, validation.eval_set.tasks, len(results.baselines), front=len(results.gate_results)
    )
    return CycleFacts(
        watchlist=results.watchlist.name,
        cycle=results.cycle.id,
        hub_url=results.hub_url,
        started=f"{results.cycle.started:%Y-%m-%d %H:%M} UTC",
        finished=f"{finished:%Y-%m-%d %H:%M} UTC",
        outcome=f"{ending.state}: {ending.note}",
        skills=tuple(skill.name for skill in validation.skills),
        verdicts=verdicts,
        search=search_facts(results),
        hypervolumes=tuple(volume for _, volume in results.summary.generations),
        baselines=tuple(ScoreRow(baseline.name, scores.intervals) for baseline, scores in validation.baseline_scores()),
        front=tuple(map(front_member, results.gate_results)),
        releases=tuple(map(release, releases)),
        visible=tuple(effect for effect in visible if effect.split is Split.VALIDATION),
        warning=describe_hopelessness(visible),
        recalled=results.recalled,
        vocabulary=results.pool.vocabulary,
        audition=results.audition,
        gap=results.gap,
        choice=results.choice,
        judged=tuple(
            JudgedTask(task.skill, task.task, task.metric, drawn_facts(task.drawn, results.judges))
            for task in validation.eval_set.tasks
            if task.drawn is not None
        ),
    )


def _count_pictures(report: SplitResults, recipe: str) -> PictureCounts | None:
    """A release's pictures on the report split; one that several skills use is one. None if there are none."""
    drawn = {(task.skill, task.key): task.task for task in report.eval_set.tasks if task.drawn is not None}
    flags = {
        (drawn[score.skill, score.task], score.item): score.flag
        for score in report.merges[recipe].scores
        if (score.skill, score.task) in drawn
    }
    return count_pictures(list(flags.values())) if flags else None


def render_report(facts: CycleFacts) -> str:
    """The report as Markdown; repositories are links to the cycle's Hub."""
    return render_markdown(
        "cycle_report.md.j2",
        facts=facts,
        recalled=facts.recalled.describe() if facts.recalled else [],
        gap=facts.gap.describe() if facts.gap else "",
        choice=facts.choice.describe() if facts.choice else "",
        taken=sum(verdict.accepted for verdict in facts.verdicts),
        passed=sum(member.passed for member in facts.front),
        front_guards=[(member.digest[:12], member.guards) for member in facts.front if member.guards],
        release_guards=[(release.role, release.guards) for release in facts.releases if release.guards],
        judged_tasks=group_alike((one.skill, one.task, one.metric, one.drawn) for one in facts.judged),
        picture_faults=[(release.role, None, release.pictures) for release in facts.releases if release.pictures],
        address=lambda repo, sha=None: f"{facts.hub_url.rstrip('/')}/{repo}{f'/tree/{sha}' if sha else ''}",
    )
