"""What commands print: frozen values as tables for a terminal. Text from the Hub is never read as markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bot.contest.findings import Ruling
from bot.ledger.book import ReleaseEntry
from bot.overview import CyclePage, CycleRow

if TYPE_CHECKING:
    from bot.plan import Cost, Plan, TaskPlan
from bot.sources.candidate import Verdict


def plan_page(plan: Plan) -> Group:
    """`shoal plan`."""
    parts: list[RenderableType] = [_verdict_table(plan.verdicts), _task_table(plan.tasks)]
    if plan.cost is not None:
        parts.append(_cost_text(plan.cost, plan.licence or ""))
    return Group(*parts)


def status_page(rows: Sequence[CycleRow]) -> RenderableType:
    """`shoal status`."""
    table = _table("cycle", "started", "state", "releases", "note")
    for row in rows:
        cycle = row.cycle
        table.add_row(
            cycle.id,
            f"{cycle.started:%Y-%m-%d %H:%M}",
            cycle.state,
            str(len(row.releases)),
            escape(cycle.note),
        )
    return table if rows else Text("no cycle yet: shoal run WATCHLIST")


def cycle_page(page: CyclePage) -> Group:
    """`shoal show`."""
    cycle = page.cycle
    parts: list[RenderableType] = [
        Text(f"{cycle.id}: {cycle.state}. {cycle.note}"),
        _verdict_table(page.verdicts),
    ]
    if page.search is not None:
        found = page.search
        parts.append(
            Text(
                f"search: {found.candidates} candidates ({found.failed} failed), {len(found.generations)} generations, "
                f"{found.seconds:.0f} s of scoring, hypervolume {found.generations[-1][1]:.4f}; {found.stopped}"
            )
        )
    if page.rulings:
        parts.append(_gate_table(page.rulings, page.skills))
    if page.measured:
        parts.append(_score_table(page))
    if page.releases:
        parts.append(_release_table(page.releases))
    if page.report:
        parts.append(Text(f"report: {page.report}"))
    return Group(*parts)


def result_page(page: CyclePage) -> Group:
    """How `shoal run` ends: what was measured, if anything was released."""
    return Group(*([_score_table(page)] if page.measured else []))


def _score_table(page: CyclePage) -> Table:
    """The releases and their rivals on the report split."""
    table = _table("report split, with 95 % intervals", "", *page.skills)
    for row in page.measured:
        style = "bold" if row.kind == "release" else None
        scores = [f"{score.mean:.3f} [{score.low:.3f}, {score.high:.3f}]" for score in row.scores]
        table.add_row(escape(row.name), row.kind, *(escape(score) for score in scores), style=style)
    return table


def _verdict_table(verdicts: Iterable[Verdict]) -> Table:
    table = _table("model", "commit", "", "reason")
    for verdict in verdicts:
        mark = "[green]taken[/]" if verdict.accepted else "[red]refused[/]"
        table.add_row(escape(verdict.repo), (verdict.sha or "")[:8], mark, escape(verdict.reason))
    return table


def _task_table(tasks: Iterable[TaskPlan]) -> Table:
    table = _table("skill", "task", "metric", "search items", "validation", "report")
    for task in tasks:
        counts = (str(task.search), str(task.validation), str(task.report))
        table.add_row(escape(task.skill), escape(task.task), escape(task.metric), *counts)
    return table


def _cost_text(cost: Cost, licence: str) -> Text:
    lines = (
        f"download   {_bytes(cost.download)}; disk with releases {_bytes(cost.disk)}",
        f"memory     {_bytes(cost.memory)} for {cost.workers} workers of {cost.threads} threads on {cost.device}",
        f"space      {cost.genes} genes, {cost.space:.3g} genomes",
        f"search     {cost.candidates} candidates beside {cost.rivals} rivals, at most {cost.item_scores:,} item scores",
        f"licence    releases would be {licence}",
    )
    return Text("\n".join(lines))


def _gate_table(rulings: Iterable[Ruling], skills: Sequence[str]) -> Table:
    table = _table("recipe", *skills, "gate", "reason (validation split)")
    for ruling in sorted(rulings, key=lambda one: (not one.passed, one.p_value)):
        mark = "[green]passed[/]" if ruling.passed else "[yellow]held back[/]"
        scores = [f"{score:.3f}" for score in ruling.scores] or ["-"] * len(skills)
        table.add_row(ruling.recipe[:10], *scores, mark, escape(ruling.reason))
    return table


def _release_table(releases: Iterable[ReleaseEntry]) -> Table:
    table = _table("release", "role", "recipe", "commit")
    for release in releases:
        table.add_row(escape(release.repo), release.role, release.recipe[:10], (release.commit or "waits")[:10])
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _bytes(count: int) -> str:
    """Bytes with a decimal unit."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
