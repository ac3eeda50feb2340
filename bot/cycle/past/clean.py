"""`shoal clean`: makes room in the home. What a cycle or a review still needs is never touched."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from bot.home import Home
from bot.hub.download import MANIFEST
from bot.hub.resolver import OF, ON, source_folder
from bot.ledger.decisions import cycle_decisions
from bot.ledger.ledger import AUDITIONED, RESUMED, Cycle, Ledger, State
from bot.release.review import is_waiting
from merging.identity import ModelId

_DELETED = ".deleted"
"""End of the hidden name of a folder that is being deleted."""

_COMMIT = re.compile(
    rf"\.?(?P<name>(?P<sha>[0-9a-f]{{40}})(?P<of>{re.escape(OF)}[0-9a-f]{{12}})?(?P<on>{re.escape(ON)}[0-9a-f]{{40}})?)"
    rf"(\.partial)?({re.escape(_DELETED)})?"
)
"""The name of a source's folder, whole or of one file, of one with what an adapter adds to a base, or of what is
unfinished or left of them.

No other is looked at."""


class ItemKind(StrEnum):
    """What an item of the home is."""

    SOURCE = "source"
    UNFINISHED = "unfinished"
    RELEASE = "release"
    REPORT = "report"
    VOCABULARY = "vocabulary"
    ANSWERS = "cached answers"


@dataclass(frozen=True)
class HomeItem:
    """A file or folder of the home that may be deleted, or would be if it were not needed.

    used: when it was needed last. needed: why it is kept whatever the limits; empty if it need not be.
    """

    kind: ItemKind
    path: Path
    size: int
    used: datetime
    needed: str = ""


@dataclass(frozen=True)
class CleaningLimits:
    """What is kept of what is not needed: what was used in the last days, as long as the home is not too large.

    max_bytes: of all items together, needed ones included; None: no limit.
    """

    keep_days: float
    max_bytes: int | None = None


@dataclass(frozen=True)
class Cleaning:
    """What is to be deleted, or was (`done`), and what stays. bytes: of all that is deleted."""

    deleted: tuple[HomeItem, ...]
    kept: tuple[HomeItem, ...]
    limits: CleaningLimits
    done: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of what is deleted."""
        return sum(item.size for item in self.deleted)

    @property
    def excess(self) -> int:
        """Bytes by which the home stays larger than `max_bytes`, because the rest is needed."""
        kept = sum(item.size for item in self.kept)
        return max(0, kept - self.limits.max_bytes) if self.limits.max_bytes is not None else 0

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "done": self.done,
            "bytes": self.bytes,
            "excess": self.excess,
            "deleted": list(map(_item_json, self.deleted)),
            "kept": list(map(_item_json, self.kept)),
        }


def plan_cleaning(home: Home, limits: CleaningLimits, now: datetime) -> Cleaning:
    """What would be deleted."""
    items = tuple(list_items(home))
    chosen = choose_deletions(items, limits, now)
    return Cleaning(chosen, tuple(item for item in items if item not in chosen), limits)


def delete_items(cleaning: Cleaning) -> Cleaning:
    """Delete what was chosen. The caller holds the home's lock, and has made the choice under it."""
    for item in cleaning.deleted:
        if item.path.is_dir():
            # Under another name first: whoever finds it half deleted must not take it for whole, or go on with it.
            doomed = item.path.with_name(f".{item.path.name.lstrip('.').removesuffix(_DELETED)}{_DELETED}")
            item.path.rename(doomed)
            shutil.rmtree(doomed)
            if not any(item.path.parent.iterdir()):
                item.path.parent.rmdir()
        else:
            item.path.unlink()
    return Cleaning(cleaning.deleted, cleaning.kept, cleaning.limits, done=True)


def choose_deletions(items: Sequence[HomeItem], limits: CleaningLimits, now: datetime) -> tuple[HomeItem, ...]:
    """What was not used for too long, and as much of the rest as makes the home small enough, the longest unused first.

    What is needed is never chosen.
    """
    free = sorted((item for item in items if not item.needed), key=lambda item: (item.used, item.path))
    oldest = now - timedelta(days=limits.keep_days)
    chosen = [item for item in free if item.used < oldest]
    size = sum(item.size for item in items) - sum(item.size for item in chosen)
    for item in free[len(chosen) :]:
        if limits.max_bytes is None or size <= limits.max_bytes:
            break
        chosen.append(item)
        size -= item.size
    return tuple(chosen)


def list_items(home: Home) -> Iterator[HomeItem]:
    """Everything in the home that can be fetched or made again, or is no longer needed, and what is like it but needed.

    Releases of cycles that publish nothing are the person's own, and are not listed.
    """
    ledger = Ledger(home.ledger) if home.ledger.exists() else None
    try:
        cycles = ledger.cycles() if ledger else ()
        used, needed = _source_uses(home, ledger, cycles)
        poolless = [cycle for cycle in cycles if ledger and _has_no_pool(ledger, cycle, cycles)]
        for item in _sources(home, used, needed):
            fetching = next((cycle.id for cycle in poolless if item.used >= cycle.started), None)
            yield replace(item, needed=f"{fetching} is to be resumed") if fetching and not item.needed else item
        for cycle in cycles:
            if ledger is not None:
                yield from _releases(home, ledger, cycle, _is_newest(cycle, cycles))
        yield from _reports(home, cycles)
        for path in sorted(home.vocabularies.iterdir()) if home.vocabularies.is_dir() else ():
            yield _item(ItemKind.VOCABULARY, path)
        if home.answers.is_dir():
            yield _item(ItemKind.ANSWERS, home.answers)
    finally:
        if ledger is not None:
            ledger.close()


def _source_uses(
    home: Home, ledger: Ledger | None, cycles: Sequence[Cycle]
) -> tuple[dict[Path, datetime], dict[Path, str]]:
    """Source folder → its last use by a cycle, and → why it is needed."""
    used: dict[Path, datetime] = {}
    needed: dict[Path, str] = {}
    for cycle in cycles:
        why = _need(cycle, _is_newest(cycle, cycles))
        for source in ledger.sources(cycle.id) if ledger else ():
            folder = source_folder(home.sources, ModelId(source.repo, source.sha))
            used[folder] = max(used.get(folder, cycle.started), cycle.finished or cycle.started)
            if why and source.role != AUDITIONED:
                needed.setdefault(folder, why)
    return used, needed


def _has_no_pool(ledger: Ledger, cycle: Cycle, cycles: Sequence[Cycle]) -> bool:
    """Whether a cycle is to be resumed that had not recorded its sources yet: it was still fetching them, perhaps."""
    return cycle.state in RESUMED and _is_newest(cycle, cycles) and not ledger.sources(cycle.id)


def _sources(home: Home, used: Mapping[Path, datetime], needed: Mapping[Path, str]) -> Iterator[HomeItem]:
    folders = sorted(home.sources.glob("*/*")) if home.sources.is_dir() else []
    for path in (one for one in folders if one.is_dir() and not one.is_symlink()):
        if (found := _COMMIT.fullmatch(path.name)) is None:
            continue
        whole, source = path.with_name(found["name"]), path.with_name(found["sha"])
        if path == source and not (path / MANIFEST).is_file():
            continue  # shoal did not fetch this
        if path.name.endswith(_DELETED):
            yield _item(ItemKind.UNFINISHED, path)
        else:
            kind = ItemKind.SOURCE if path == whole else ItemKind.UNFINISHED
            yield _item(kind, path, used.get(source), needed.get(source, ""))


def _releases(home: Home, ledger: Ledger, cycle: Cycle, newest: bool) -> Iterator[HomeItem]:
    folder = home.releases(cycle.id)
    if cycle.state is State.WRITTEN or not folder.is_dir():
        return
    decisions = cycle_decisions(ledger, cycle.id)
    waiting = {one.role for one in ledger.releases(cycle.id) if is_waiting(one, decisions)}
    for path in sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink()):
        why = _need(cycle, newest)
        if cycle.state is State.REVIEW and path.name not in waiting:
            why = ""
        yield _item(ItemKind.RELEASE, path, cycle.finished, why)


def _reports(home: Home, cycles: Sequence[Cycle]) -> Iterator[HomeItem]:
    for cycle in cycles:
        if (path := home.report(cycle.id)).is_file():
            yield _item(ItemKind.REPORT, path, cycle.finished, _need(cycle, _is_newest(cycle, cycles)))


def _need(cycle: Cycle, newest: bool) -> str:
    """Why a cycle needs its sources, releases and report; empty if it does not."""
    if cycle.state is State.REVIEW:
        return f"{cycle.id} is waiting for review"
    return f"{cycle.id} is to be resumed" if newest and cycle.state in RESUMED else ""


def _is_newest(cycle: Cycle, cycles: Sequence[Cycle]) -> bool:
    return cycle.number == max(one.number for one in cycles if one.watchlist == cycle.watchlist)


def _item(kind: ItemKind, path: Path, used: datetime | None = None, needed: str = "") -> HomeItem:
    """An item with its size; it was used at least when it was last written."""
    files = [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()] if path.is_dir() else [path]
    written = datetime.fromtimestamp(max(one.stat().st_mtime for one in [path, *files]), UTC)
    size = sum(one.stat().st_size for one in files)
    return HomeItem(kind, path, size, written if used is None else max(used, written), needed)


def _item_json(item: HomeItem) -> dict[str, object]:
    return asdict(item) | {"kind": str(item.kind), "path": str(item.path), "used": item.used.isoformat()}
