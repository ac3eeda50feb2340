"""Three disjoint sets of an exam's items: the search sees one, the choice another, the card the third."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

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
class Material:
    """What one task brings to an exam, as item → subject.

    `test` are the documents that the task is scored on, `own` the sets beside them (validation, training), best
    first; of these only as many are read as are needed.
    """

    test: Mapping[str, str]
    own: Iterable[Mapping[str, str]] = ()


@dataclass(frozen=True)
class Division:
    """How one task's items are divided.

    `items` are the chosen ones, in a seeded order of which a smaller limit gives a prefix. `held_out` are all
    subjects, chosen or not, that belong to validation or report in any task of the exam: they may never be shown
    as examples. `own_search` says that the search items come from documents beside the test set.
    """

    items: Mapping[Split, tuple[str, ...]]
    held_out: frozenset[str]
    own_search: bool


def assign(seed: int, subject: str, shares: Mapping[Split, float]) -> Split:
    """The split of one subject: a seeded hash of it, so that its tasks, other subjects and order do not matter."""
    position = _hash(seed, "split", subject) / 2**64 * sum(shares.values())
    for split, share in shares.items():
        position -= share
        if position < 0:
            return split
    return split  # the last one: position can only be left at 0 by rounding


def pick(seed: int, items: Iterable[str], limit: int | None) -> tuple[str, ...]:
    """The first `limit` items in a seeded order."""
    return tuple(sorted(items, key=lambda item: (_hash(seed, "order", item), item))[:limit])


def divide(seed: int, tasks: Mapping[str, Material], sizes: SplitSizes) -> dict[str, Division]:
    """Divide the items of all tasks of an exam among the three splits: no subject is in two of them.

    A task's search items are the first of its own sets with `ENOUGH` items of subjects that no task is tested on;
    fewer will do if the limit, or a share of the test set, would not give the search more. Its test set then goes
    to validation and report. Without such a set the test set is divided 50/25/25, and so is whatever other tasks
    share of it: what is searched here is not held out there, but left out.
    """
    tested = frozenset(subject for material in tasks.values() for subject in material.test.values())
    own = {name: _own_search(seed, material, tested, sizes) for name, material in tasks.items()}
    searched = {subject for name in tasks if own[name] is None for subject in tasks[name].test.values()}
    places = {subject: assign(seed, subject, SHARES if subject in searched else HELD_OUT_SHARES) for subject in tested}
    held_out = frozenset(subject for subject, split in places.items() if split is not Split.SEARCH)
    return {name: _division(seed, material, own[name], places, held_out, sizes) for name, material in tasks.items()}


def _own_search(seed: int, material: Material, tested: Collection[str], sizes: SplitSizes) -> tuple[str, ...] | None:
    """A task's own documents for the search, or None if its test set has to serve."""
    shared = [subject for subject in material.test.values() if assign(seed, subject, SHARES) is Split.SEARCH]
    wanted = min(len(shared), sizes.search or ENOUGH, ENOUGH)
    for candidates in material.own:
        fresh = tuple(item for item, subject in candidates.items() if subject not in tested)
        if fresh and len(fresh) >= wanted:
            return fresh
    return None


def _division(
    seed: int,
    material: Material,
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
        items={split: pick(seed, parts[split], sizes.limit(split)) for split in Split},
        held_out=held_out,
        own_search=own is not None,
    )


def _hash(seed: int, purpose: str, name: str) -> int:
    """64 bits; `purpose` keeps an item's split and its place in the order independent."""
    text = json.dumps([seed, purpose, name])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
