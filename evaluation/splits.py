"""Three disjoint sets of a task's items: the search sees one, the choice another, the card the third."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evaluation.errors import EvaluationError


class Split(StrEnum):
    """What a set of items is for."""

    SEARCH = "search"  # the only items that evolution sees
    VALIDATION = "validation"  # the choice among the front, and the gate
    REPORT = "report"  # read once per release, for the card


SHARES: Mapping[Split, float] = {Split.SEARCH: 0.5, Split.VALIDATION: 0.25, Split.REPORT: 0.25}
HELD_OUT_SHARES: Mapping[Split, float] = {Split.VALIDATION: 0.5, Split.REPORT: 0.5}

ENOUGH = 100  # documents that make a search set; tasks often keep a handful of training documents as examples


@dataclass(frozen=True)
class SplitSizes:
    """At most so many items of each task go into a split; None means all there are."""

    search: int | None = None
    validation: int | None = None
    report: int | None = None

    def __post_init__(self) -> None:
        for split in Split:
            limit = self.limit(split)
            if limit is not None and limit < 1:
                raise EvaluationError(f"items of the {split} split: {limit}; give at least 1, or none for all")

    def limit(self, split: Split) -> int | None:
        """The limit of one split."""
        limits = {
            Split.SEARCH: self.search,
            Split.VALIDATION: self.validation,
            Split.REPORT: self.report,
        }
        return limits[split]


@dataclass(frozen=True)
class Division:
    """How one task's items are divided.

    `items` are the chosen ones, in a seeded order of which a smaller limit gives a prefix. `held_out` are all
    items, chosen or not, that belong to validation or report: they may never be shown as examples.
    `own_search` says that the search items come from documents beside the test set.
    """

    items: Mapping[Split, tuple[str, ...]]
    held_out: frozenset[str]
    own_search: bool


def item_id(doc: Mapping[str, Any]) -> str:
    """16 hex digits that name a document by its content alone."""
    text = json.dumps(doc, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Columns that JSON does not know: arrays, bytes, dates. Anything else has no stable text."""
    for method in ("tolist", "hex", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise EvaluationError(f"a document holds a {type(value).__name__}, which has no stable text; drop the column")


def assign(seed: int, task: str, item: str, shares: Mapping[Split, float]) -> Split:
    """The split of one item: a seeded hash of the item, so that other items and their order do not matter."""
    position = _hash(seed, "split", task, item) / 2**64 * sum(shares.values())
    for split, share in shares.items():
        position -= share
        if position < 0:
            return split
    return split  # the last one: position can only be left at 0 by rounding


def pick(seed: int, task: str, items: Iterable[str], limit: int | None) -> tuple[str, ...]:
    """The first `limit` items in a seeded order."""
    return tuple(sorted(items, key=lambda item: (_hash(seed, "order", task, item), item))[:limit])


def divide(seed: int, task: str, test: Sequence[str], own: Iterable[Sequence[str]], sizes: SplitSizes) -> Division:
    """Divide a task's items among the three splits.

    `test` are the task's test items. `own` are other sets of the task (validation, training), best first. The
    first with `ENOUGH` items serves the search, and the whole test set goes to validation and report; fewer
    will do if the limit, or a share of the test set, would not give the search more. Without such a set the
    test set is divided 50/25/25. An item that is in the test set too is never taken from `own`.
    """
    tested = frozenset(test)
    parts = _parts(seed, task, tested, SHARES)
    wanted = min(len(parts[Split.SEARCH]), sizes.search or ENOUGH, ENOUGH)
    own_search = False
    for candidates in own:
        fresh = [item for item in dict.fromkeys(candidates) if item not in tested]
        if fresh and len(fresh) >= wanted:
            parts = {Split.SEARCH: fresh, **_parts(seed, task, tested, HELD_OUT_SHARES)}
            own_search = True
            break
    return Division(
        items={split: pick(seed, task, parts[split], sizes.limit(split)) for split in Split},
        held_out=frozenset(parts[Split.VALIDATION]) | frozenset(parts[Split.REPORT]),
        own_search=own_search,
    )


def _parts(seed: int, task: str, items: Iterable[str], shares: Mapping[Split, float]) -> dict[Split, list[str]]:
    parts: dict[Split, list[str]] = {split: [] for split in shares}
    for item in items:
        parts[assign(seed, task, item, shares)].append(item)
    return parts


def _hash(seed: int, purpose: str, task: str, item: str) -> int:
    """64 bits; `purpose` keeps an item's split and its place in the order independent."""
    text = json.dumps([seed, purpose, task, item])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
