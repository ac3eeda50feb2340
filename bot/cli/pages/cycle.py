"""The pages of cycles and plans. Text from the Hub is never interpreted as markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bot.cli.options import PagePart
from bot.cycle.history import CyclePage
from bot.cycle.past.front import number_front
from bot.hub.discovery.candidate import Verdict
from bot.progress import clock_time, printable
from bot.search.results import FrontChoice, GateResult, MeasuredRow, SearchSummary

if TYPE_CHECKING:
    from bot.cycle.dry_run import RunCost, RunPlan, TaskPlan
    from bot.cycle.workload import StageCost

Section = tuple[str, RenderableType]
"""A heading and its content."""

SENTENCE_WIDTH = 30
"""Columns that a sentence needs beside names."""

_DIGEST = 10
"""Characters shown of a recipe's digest or a commit."""


def layout_plan(plan: RunPlan) -> RenderableType:
    """The page of `shoal plan`."""
    sections: list[Section] = _verdicts(plan.verdicts)
    if plan.tasks:
        sections.append(("Items of each task", _tasks(plan.tasks)))
        sections.append(("The smallest differences that can be seen", _effects(plan)))
    if plan.guards:
        sections.append(("Guards at the gate", _guard_powers(plan)))
    sections += [("Warning", Text(printable(warning), style="bold")) for warning in plan.warnings]
    if plan.recall is not None:
        sections.append(("From earlier cycles", Text(printable(plan.recall.describe()))))
    if plan.cost is not None:
        sections.append(("A run would take", _cost(plan.cost, plan.licence or "")))
        sections.append(("Scoring, stage by stage", _stages(plan.cost)))
    if plan.outlook is not None:
        sections.append(("What the budget may reach", Text(printable("\n".join(plan.outlook.describe())))))
    return _page(sections)


def layout_cycle(page: CyclePage, parts: Sequence[PagePart] = tuple(PagePart)) -> RenderableType:
    """The page of `shoal show`: what came out, then how, then the candidates. `shoal run` shows its scores alone."""
    sections: dict[PagePart, list[Section]] = {
        PagePart.RELEASES: [(f"Releases ({len(page.releases)})", _releases(page))] if page.releases else [],
        PagePart.SCORES: _score_sections(page),
        PagePart.GATE: _gate_sections(page),
        PagePart.SEARCH: _search_sections(page),
        PagePart.CANDIDATES: [*_audition_sections(page), *(_verdicts(page.verdicts) if page.verdicts else [])],
    }
    head = [] if tuple(parts) == (PagePart.SCORES,) else [_head(page)]
    return _page([*head, *(section for part in sections if part in parts for section in sections[part])])


def _head(page: CyclePage) -> Section:
    return f"{page.cycle.id}: {page.cycle.state}", Text(printable("\n".join(_summary(page))))


def _score_sections(page: CyclePage) -> list[Section]:
    """The report split's scores, and the guards' where the watchlist has guards."""
    guards = [("Guards on the report split", _guards(page.measured))]
    return [*([_scores(page)] if page.measured else []), *(guards if any(row.guards for row in page.measured) else [])]


def _search_sections(page: CyclePage) -> list[Section]:
    """What the search began with, and how it went."""
    recalled = page.recalled.describe() if page.recalled else []
    before = [("From earlier cycles", Text(printable("\n".join(recalled))))] if recalled else []
    lines = [] if page.search is None else _search(page.search)
    if page.gap is not None:
        lines.append(page.gap.describe())
    return [*before, *([("Search", Text(printable("\n".join(lines))))] if lines else [])]


def _gate_sections(page: CyclePage) -> list[Section]:
    """What passed and what was held back; before the gate, the front."""
    if page.front and not page.gate_results:
        return [(f"Front so far ({len(page.front)}), scores on the search split", _front(page))]
    sections: list[Section] = []
    for passed, heading in ((True, "Passed the gate"), (False, "Held back by the gate")):
        found = [gate_result for gate_result in page.gate_results if gate_result.passed == passed]
        if found:
            sections.append((f"{heading} ({len(found)}), scores on the validation split", _gate(found, page)))
    if page.choice is not None and (page.choice.put_in or page.choice.left_out):
        sections.append(("On the front, and not, by the model of the scores", _choice(page.choice, page.skills)))
    return sections


def _audition_sections(page: CyclePage) -> list[Section]:
    """The scores by which the sources were chosen; the verdicts have the reasons."""
    found = page.audition
    if found is None:
        return []
    table = _table("model", "", *page.skills, "")
    for row in found.rows:
        scores = [f"{score:.3f}" for score in row.scores] or ["-"] * len(page.skills)
        _add(table, row.repo, row.role, *scores, "chosen" if row.chosen else "")
    places = f"{found.places} place{'s' if found.places > 1 else ''}"
    heading = (
        f"Audition of {len(found.candidates)} models for {places}, scores on {found.items} items of the search split"
    )
    return [(heading, table)]


def _page(sections: Iterable[Section]) -> Group:
    parts: list[RenderableType] = []
    for heading, body in sections:
        parts += [Text(""), Text(printable(heading), style="bold"), Padding(body, (0, 0, 0, 2), expand=False)]
    return Group(*parts[1:])


def _summary(page: CyclePage) -> list[str]:
    """The cycle's start and duration, how it ended, and the path of its report."""
    cycle = page.cycle
    when = f"started {_minute(cycle.started)} UTC"
    if cycle.finished is not None:
        when += f", ended after {clock_time((cycle.finished - cycle.started).total_seconds())}"
    return [when, cycle.note] + ([f"report: {page.report}"] if page.report else [])


def _verdicts(verdicts: Iterable[Verdict]) -> list[Section]:
    """The accepted candidates, then the refused ones, each with the reason."""
    every = tuple(verdicts)
    sections: list[Section] = []
    for accepted, heading in ((True, "Accepted"), (False, "Refused")):
        found = [(verdict.repo, verdict.reason) for verdict in every if verdict.accepted == accepted]
        if found:
            sections.append((f"{heading} ({len(found)})", Rows(("model", "reason"), found)))
    return sections or [("No model was found", Text("nothing on the Hub matches `watch`"))]


def _tasks(tasks: Iterable[TaskPlan]) -> Table:
    table = _table("skill", "task", "metric", "search", "validation", "report")
    for task in tasks:
        _add(table, task.skill, task.task, task.metric, str(task.search), str(task.validation), str(task.report))
    return table


def _effects(plan: RunPlan) -> Group:
    table = _table("skill", "split", "difference")
    for one in plan.visible:
        _add(table, one.skill, one.split, one.description)
    return Group(table, Text(plan.visible_if, "dim"))


def _guard_powers(plan: RunPlan) -> Table:
    table = _table("guard", "may drop by", "chance of passing")
    for one in plan.guards:
        _add(table, one.guard, f"{one.max_drop:g}", one.description)
    return table


def _cost(cost: RunCost, licence: str) -> Table:
    threads = f"{cost.threads} thread{'s' if cost.threads > 1 else ''} each"
    workers = f"{cost.workers} worker{'s' if cost.workers > 1 else ''} on {cost.device}, {threads}"
    table = Table.grid(padding=(0, 2, 0, 0))
    left_out = f"the layers of {', '.join(cost.left_out)}: raise search.dataflow.models"
    places = f"{cost.places} place{'s' if cost.places > 1 else ''}"
    audition = f"{cost.auditioned} candidates compete for {places}, and all of them are downloaded; audition: null: "
    audition += "the most downloaded take them"
    drawing = f"candidates draw {cost.drawing}; less of steps × pixels is an objective"
    chosen = "; a model chooses among them" if cost.surrogate else ""
    for name, value in (
        *((("audition", audition),) if cost.auditioned else ()),
        ("download", decimal(cost.download)),
        ("disk", f"{decimal(cost.disk)}, with the releases"),
        ("memory", f"{decimal(cost.memory)} for all processes: {workers}"),
        ("space", f"{cost.genes} genes, about 10^{cost.space_log10:.0f} possible merges{chosen}"),
        *((("drawing", drawing),) if cost.drawing else ()),
        ("largest", decimal(cost.largest) + (f", a merge of {cost.layers} layers" if cost.layers else "")),
        *((("left out", left_out),) if cost.left_out else ()),
        (
            "scoring",
            f"{cost.candidates} candidates and {cost.baselines} baselines, about {cost.item_scores:,} item scores",
        ),
        ("time", _duration(cost)),
        ("licence", f"{licence}, for the releases"),
    ):
        _add(table, name, value)
    return table


def _duration(cost: RunCost) -> str:
    if cost.seconds is None:
        return "not measured: too little memory or disk is free for a trial"
    return f"about {_hours(cost.seconds)} of scoring, a minute of other work, and the download"


_STAGES_IF = "This assumes that the whole budget is used, and that the front is as large as a generation."


def _stages(cost: RunCost) -> Group:
    table = _table("stage", "models", "item scores", "time")
    for stage in cost.stages:
        _add(table, stage.stage, str(stage.models), f"{stage.item_scores:,}", _stage_time(stage))
    return Group(table, Text(_STAGES_IF, "dim"))


def _stage_time(stage: StageCost) -> str:
    if stage.seconds is None:
        return ""
    return f"{_hours(stage.seconds)}, the limit" if stage.limited else f"about {_hours(stage.seconds)}"


def _hours(seconds: float) -> str:
    """An estimate in the unit that fits: seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _search(found: SearchSummary) -> list[str]:
    summary = (
        f"{found.candidates} candidates in {len(found.generations)} generations, {len(found.front)} on the front, "
        f"hypervolume {found.generations[-1][1]:.4f}; {clock_time(found.seconds)} of scoring; {found.stopped}"
    )
    return [summary, *(f"{count} failed: {reason}" for reason, count in found.reasons)]


def _front(page: CyclePage) -> Table:
    table = _table("", "recipe", *page.skills)
    for member in number_front(page.front, ()):
        _add(table, str(member.number), member.recipe[:_DIGEST], *(f"{score:.3f}" for score in member.search))
    return table


def _gate(gate_results: Iterable[GateResult], page: CyclePage) -> Table:
    numbers = {member.recipe: str(member.number) for member in number_front(page.front, page.gate_results)}
    table = _table("", "recipe", *page.skills, "reason")
    for gate_result in sorted(gate_results, key=lambda one: one.p_value):
        scores = [f"{score:.3f}" for score in gate_result.scores] or ["-"] * len(page.skills)
        recipe = gate_result.recipe
        _add(table, numbers[recipe], recipe[:_DIGEST], *scores, gate_result.reason)
    return table


def _choice(choice: FrontChoice, skills: Sequence[str]) -> Group:
    """The recipes that a model of the scores put on the front or left out, by what it expects of them."""
    table = _table("recipe", *skills, "")
    for recipes, words in ((choice.put_in, "put in"), (choice.left_out, "left out")):
        for one in recipes:
            pairs = zip(one.scores, one.expected, strict=True)
            cells = [f"{score:.3f}, expected {expected:.3f}" for score, expected in pairs]
            _add(table, one.recipe[:_DIGEST], *cells, words)
    return Group(table, Text(printable(choice.describe()), "dim"))


def _scores(page: CyclePage) -> Section:
    """The releases and the baselines on the report split."""
    table = _table("", "", *page.skills)
    for row in page.measured:
        style = "bold" if row.kind == "release" else ""
        table.add_row(Text(printable(row.name), style), Text(row.kind, style), *_estimates(row, style))
    return "Scores on the report split, with 95 % intervals", table


def _guards(rows: Iterable[MeasuredRow]) -> Table:
    table = _table("release", "guard", "score", "reference", "difference", "may drop by", "kept")
    for row in rows:
        for one in row.guards:
            difference = f"{one.difference.mean:+.3f} ({one.difference.low:+.3f} to {one.difference.high:+.3f})"
            reference = f"{one.reference_score.mean:.3f} of {one.reference}"
            kept = "yes" if one.is_kept else "not shown"
            _add(table, row.name, one.guard, f"{one.score.mean:.3f}", reference, difference, f"{one.max_drop:g}", kept)
    return table


def _estimates(row: MeasuredRow, style: str) -> list[Text]:
    return [
        Text.assemble((f"{score.mean:.3f}", style), "\n", (f"{score.low:.3f}–{score.high:.3f}", "dim"))
        for score in row.scores
    ]


def _releases(page: CyclePage) -> Table:
    decisions = {decision.role: decision.describe() for decision in page.decisions}
    table = _table("repo", "role", "recipe", "commit", *(("decision",) if decisions else ()))
    for release in page.releases:
        commit = release.commit[:_DIGEST] if release.commit else "not uploaded"
        decided = (decisions.get(release.role, ""),) if decisions else ()
        _add(table, release.repo, release.role, release.recipe[:_DIGEST], commit, *decided)
    return table


@dataclass(frozen=True)
class Rows:
    """A table whose last column holds sentences: they are wrapped between words, and names are never cut.

    Where the names leave no room for sentences, these stand below them.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, as rich draws it."""
        names = (self.columns[:-1], *(row[:-1] for row in self.rows))
        widths = (max(map(cell_len, column)) + 2 for column in zip(*names, strict=True))
        if sum(widths) + SENTENCE_WIDTH <= options.max_width:
            table = _table(*self.columns)
            for column in table.columns[:-1]:
                column.no_wrap = True
            for row in self.rows:
                _add(table, *row)
            yield table
            return
        for row in self.rows:
            yield Text(printable("  ".join(row[:-1])), overflow="fold")
            yield Padding(Text(printable(row[-1])), (0, 0, 0, 4))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
