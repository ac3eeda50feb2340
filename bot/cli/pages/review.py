"""The page of `shoal review`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bot.cycle.past.review import CycleReview, ReleaseReview
from bot.progress import printable
from bot.release.folder import FileState


def layout_reviews(reviews: Sequence[CycleReview]) -> RenderableType:
    """A section for each cycle, and in it one for each release."""
    if not reviews:
        return Text("no release is waiting for review")
    parts: list[RenderableType] = []
    for review in reviews:
        parts += [Text(""), Text(f"{review.cycle.id}: {review.cycle.state}", style="bold")]
        for release in review.releases:
            parts += [Padding(Text(printable(f"{release.role}: {release.state}")), (1, 0, 0, 2))]
            parts.append(Padding(_facts(release, review.skills), (0, 0, 0, 4), expand=False))
        if any(release.waiting for release in review.releases):
            hints = f"to publish all that wait: {review.publish}\nto reject one: {review.reject} --note WHY"
            parts.append(Padding(Text(printable(hints)), (1, 0, 0, 2)))
    return Group(*parts[1:])


def _facts(release: ReleaseReview, skills: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    scores = ", ".join(f"{skill} {score:.3f}" for skill, score in zip(skills, release.scores, strict=False))
    for name, value in (
        ("address", release.url),
        ("pull request", release.pull_request),
        ("folder", release.folder),
        ("gate", release.reason),
        ("report split", scores),
        ("files", _describe_files(release)),
    ):
        if value:
            table.add_row(name, Text(printable(value)))
    return table


def _describe_files(release: ReleaseReview) -> str:
    """The number and size of its files, and a line for each that is not as it was written."""
    files = release.files
    remarkable = [file for file in files if file.state not in (FileState.AS_WRITTEN, FileState.UNCHECKED)]
    note = "; hashed again before the upload" if release.waiting else ""
    lines = [f"{len(files)}, {decimal(sum(file.size for file in files))}{note}"]
    return "\n".join([*lines, *(f"{file.name}: {file.state}" for file in remarkable)])
