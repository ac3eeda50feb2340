"""The tables of README and docs, made from the files in benchmarks/results: no figure there is written by hand.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; `python -m benchmarks tables` writes them all
anew, and a test checks that this would change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from benchmarks.tables import candidates, demos, evaluations, intervals, merges, searches, service, shortcuts

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/benchmarks.md", "docs/merge.md", "docs/paths.md", "docs/statistics.md")

_TABLE = re.compile(r"(<!-- table: ([a-z_]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

TABLES: Mapping[str, Callable[[], list[list[str]]]] = MappingProxyType(
    {
        table.__name__: table
        for table in (
            *(demos.demo, demos.demo_vision, demos.demo_image, demos.real),
            *(demos.uniform_pair, demos.uniform_pair_image),
            *(merges.merges, merges.vlm_merges, merges.image_merges),
            *(evaluations.engine, evaluations.gpu, evaluations.picture_engine, evaluations.pictures_per_second),
            *(evaluations.rounds, evaluations.estimates),
            *(candidates.candidate, candidates.gpu_candidates, candidates.turnaround),
            *(candidates.image_turnaround, candidates.adapters, candidates.processes),
            *(searches.searches, searches.searches_raced, searches.shrinkage, searches.groupings, searches.spaces),
            *(shortcuts.racing, shortcuts.warm_start, shortcuts.audition),
            *(intervals.coverage, intervals.false_publications),
            *(service.plan, service.page, service.crashes),
        )
    }
)
"""By the name that pages give them."""


def write_all() -> None:
    """Write the tables of all pages anew."""
    for path in (ROOT / page for page in PAGES):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """A page's text with its tables made from the results."""
    return _TABLE.sub(lambda found: f"{found[1]}{render_table(found[2])}{found[3]}", page)


def render_table(name: str) -> str:
    """A table in Markdown; where its benchmark has no results, a line that says so."""
    try:
        return markdown(TABLES[name]())
    except FileNotFoundError as missing:
        benchmark = Path(str(missing.filename)).stem
        return f"Not measured in this version yet: `python -m benchmarks {benchmark} --save`.\n"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table; the first one is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def used_in(page: str) -> Iterator[str]:
    """Names of the tables on a page."""
    yield from (found[2] for found in _TABLE.finditer(page))
