"""Three disjoint splits of the items: one for the search, one for choosing and the gate, one for the card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from evaluation.errors import EvaluationError


class Split(StrEnum):
    """A set of items by its purpose."""

    SEARCH = "search"  # the only items that evolution sees
    VALIDATION = "validation"  # the choice among the front, and the gate
    REPORT = "report"  # read once per release, for the card


SHARES: Mapping[Split, float] = {Split.SEARCH: 0.5, Split.VALIDATION: 0.25, Split.REPORT: 0.25}
HELD_OUT_SHARES: Mapping[Split, float] = {Split.VALIDATION: 0.5, Split.REPORT: 0.5}

ENOUGH = 100  # documents that suffice for the search; a task may have only a handful of training documents


@dataclass(frozen=True)
class SplitSizes:
    """The largest number of items of each task in a split; None for all."""

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
class TaskItems:
    """The items of one task before they are divided, as item → subject.

    test: the documents that the task is scored on. own: its other sets (validation, training), best first; read one by
    one, only as far as needed. in_search: whether the search asks the task.
    """

    test: Mapping[str, str]
    own: Iterable[Mapping[str, str]] = ()
    in_search: bool = True


@dataclass(frozen=True)
class Division:
    """The division of one task's items.

    items: the chosen ones, in a seeded order of which a smaller limit gives a prefix.
    held_out: all subjects, chosen or not, that belong to validation or report in any task; never shown as examples.
    own_search: whether the search items come from the task's validation or training documents.
    """

    items: Mapping[Split, tuple[str, ...]]
    held_out: frozenset[str]
    own_search: bool


def assign_split(seed: int, subject: str, shares: Mapping[Split, float]) -> Split:
    """The split of one subject, by a seeded hash: independent of its tasks, of other subjects and of any order."""
    position = _hash(seed, "split", subject) / 2**64 * sum(shares.values())
    for split, share in shares.items():
        position -= share
        if position < 0:
            return split
    return split  # the last one: position can only be left at 0 by rounding


def choose_items(seed: int, items: Iterable[str], limit: int | None) -> tuple[str, ...]:
    """The first `limit` items in a seeded order."""
    return tuple(sorted(items, key=lambda item: (_hash(seed, "order", item), item))[:limit])


def divide_items(seed: int, tasks: Mapping[str, TaskItems], sizes: SplitSizes) -> dict[str, Division]:
    """Divide the items of all tasks among the three splits, no subject being in two of them.

    A task's search items are the first of its own sets that has `ENOUGH` items on subjects that no task is tested on
    (fewer, if the limit or the search's share of the test set is smaller). Its whole test set then goes to validation
    and report. Without such a set, the test set is divided 50/25/25, and so are the items of other tasks on the same
    subjects: what is searched in one task is left out in the others, not held out. A task that the search does not ask
    has no search items.
    """
    tested = frozenset(subject for material in tasks.values() for subject in material.test.values())
    own = {name: _own_search(seed, material, tested, sizes) for name, material in tasks.items()}
    searched = {subject for name in tasks if own[name] is None for subject in tasks[name].test.values()}
    places = {
        subject: assign_split(seed, subject, SHARES if subject in searched else HELD_OUT_SHARES) for subject in tested
    }
    held_out = frozenset(subject for subject, split in places.items() if split is not Split.SEARCH)
    return {name: _division(seed, material, own[name], places, held_out, sizes) for name, material in tasks.items()}


def _own_search(seed: int, material: TaskItems, tested: Collection[str], sizes: SplitSizes) -> tuple[str, ...] | None:
    """A task's own documents for the search (none where it is not asked), or None if its test set has to serve."""
    if not material.in_search:
        return ()
    shared = [subject for subject in material.test.values() if assign_split(seed, subject, SHARES) is Split.SEARCH]
    wanted = min(len(shared), sizes.search or ENOUGH, ENOUGH)
    for candidates in material.own:
        fresh = tuple(item for item, subject in candidates.items() if subject not in tested)
        if fresh and len(fresh) >= wanted:
            return fresh
    return None


def _division(
    seed: int,
    material: TaskItems,
    own: tuple[str, ...] | None,
    places: Mapping[str, Split],
    held_out: frozenset[str],
    sizes: SplitSizes,
) -> Division:
    parts: dict[Split, list[str]] = {split: [] for split in Split}
    for item, subject in material.test.items():
        parts[places[subject]].append(item)
    if own is not None:
        parts[Split.SEARCH] = list(own)
    return Division(
        items={split: choose_items(seed, parts[split], sizes.limit(split)) for split in Split},
        held_out=held_out,
        own_search=bool(own),
    )


def _hash(seed: int, purpose: str, name: str) -> int:
    """64 bits; `purpose` makes an item's split and its place in the order independent."""
    text = json.dumps([seed, purpose, name])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
