"""The page that `shoal merge` prints: the plan, and the files that were written."""

from __future__ import annotations

from collections.abc import Iterator

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from bot.merge_command.merge import Merged
from bot.progress import clock_time, printable


def merge_page(merged: Merged) -> Table:
    """A table with a heading and a line for each fact."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for heading, words in _facts(merged):
        table.add_row(heading, Text(printable(words)))
    return table


def _facts(merged: Merged) -> Iterator[tuple[str, str]]:
    plan = merged.plan
    for number, (name, source) in enumerate(plan.sources.items()):
        role = f" ({plan.result.config_role})" if source is plan.config_source else ""
        written = str(source.id) if source.files.remote else f"{name}, {source.files.place_in_words}"
        yield "" if number else "models", written + role
    if plan.stages[1:]:
        yield "stages", ", ".join(f"{one.stage.name} ({one.assembly.method})" for one in plan.stages[:-1])
    yield "method", plan.config.method
    counts = f"{len(plan.assembly.tasks)} tensors, {plan.parameters:,} parameters"
    yield "result", f"{plan.result.extent}, {counts} in {plan.assembly.dtype}, {decimal(plan.bytes)}"
    yield "reads", f"{decimal(plan.bytes_read)} of weights"
    if plan.missing and not merged.files:
        yield "download", f"{decimal(plan.download_bytes)} from {len(plan.missing)} repos"
    for number, remark in enumerate(plan.remarks):
        yield "" if number else "remarks", remark
    if merged.files:
        yield "written", f"{merged.target}, {len(merged.files)} files in {clock_time(merged.seconds)}"
    else:
        yield "written", "nothing: this was a check, and it found no fault"
