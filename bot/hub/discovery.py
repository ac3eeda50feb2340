"""Finding candidates: the watchlist's models listed, judged, then looked at one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.errors import ShoalError
from bot.hub.candidate import Candidate, Verdict, read_candidate
from bot.hub.client import Hub, HubForbidden, HubNotFound
from bot.hub.rules import NAMED_BASE, SAFETY, first_refusal
from bot.watchlist.sections import PinnedModel
from bot.watchlist.watchlist import Watchlist

LISTED = 1000
"""Entries read of a list, most downloaded first; what matches more is too wide a watchlist."""

EXPAND = (
    "author",
    "cardData",
    "config",
    "downloads",
    "gated",
    "lastModified",
    "library_name",
    "pipeline_tag",
    "private",
    "safetensors",
    "sha",
    "siblings",
    "tags",
)


@dataclass(frozen=True)
class Discovery:
    """Candidates with nothing against them yet, best first, at pinned commits; and the refusals so far."""

    candidates: tuple[Candidate, ...]
    refused: tuple[Verdict, ...]


def discover(hub: Hub, watchlist: Watchlist, now: datetime) -> Discovery:
    """List what the watchlist asks for and look at it closely; no weights are read.

    Raises:
        ShoalError: the Hub cannot be asked.
    """
    pinned, lost = _pinned(hub, watchlist.pinned)
    known = {candidate.repo for candidate in pinned}
    listed = [candidate for candidate in _listed(hub, watchlist) if candidate.repo not in known]
    kept, refused = _sort_out([*pinned, *sorted(listed, key=lambda one: one.rank)], watchlist, now)
    near, far = kept[: watchlist.watch.max_candidates], kept[watchlist.watch.max_candidates :]
    limit = f"beyond watch.max_candidates ({watchlist.watch.max_candidates}), by downloads"
    beyond = [_refused(candidate, limit) for candidate in far]
    seen, vanished = _looked_at(hub, near)
    candidates, found_out = _sort_out(seen, watchlist, now)
    return Discovery(tuple(candidates), (*lost, *refused, *found_out, *vanished, *beyond))


def find_base(hub: Hub, watchlist: Watchlist, candidates: Sequence[Candidate], now: datetime) -> Candidate | None:
    """The common ancestor: the one named, or (auto) the one most candidates declare; None if there is none.

    Raises:
        ShoalError: it is not there, or may not be used.
    """
    reference, rules = watchlist.base, NAMED_BASE
    if reference == "auto":
        name, rules = declared_base(candidates), SAFETY
        reference = PinnedModel(repo=name, revision=None) if name else None
    if reference is None:
        return None
    try:
        base = look(hub, reference.repo, reference.revision)
    except (HubNotFound, HubForbidden) as error:
        raise ShoalError(f"base: {error}") from error
    if reason := first_refusal(base, watchlist, now, rules):
        raise ShoalError(f"base: got {base.repo!r}: {reason}; name another base in the watchlist")
    return base


def declared_base(candidates: Iterable[Candidate]) -> str | None:
    """The base model that most candidates declare; of equals, the first by name."""
    votes = Counter(base for candidate in candidates for base in candidate.base_models if _is_repo(base))
    return min(votes, key=lambda name: (-votes[name], name)) if votes else None


def look(hub: Hub, repo: str, revision: str | None = None, pinned: int | None = None) -> Candidate:
    """A model's own page: sizes, hashes and the security scan, at the commit that `revision` means now."""
    info = hub.call(hub.api.model_info, repo, revision=revision, files_metadata=True, securityStatus=True)
    return read_candidate(info, pinned)


def _is_repo(name: str) -> bool:
    """Whether a stranger's word for a base can be a repo's name at all."""
    try:
        PinnedModel(repo=name, revision=None)
    except ValueError:
        return False
    return True


def _listed(hub: Hub, watchlist: Watchlist) -> Iterator[Candidate]:
    """The Hub's list, one request for each allowed author where any is named."""
    watch = watchlist.watch
    if not (watch.tags or watch.search or watch.authors.allow):
        return
    for author in watch.authors.allow or (None,):
        query: dict[str, Any] = {
            "filter": list(watch.tags) or None,
            "author": author,
            "search": watch.search,
            "pipeline_tag": watch.pipeline_tag,
            "sort": "downloads",
            "limit": LISTED,
            "expand": list(EXPAND),
        }
        for info in hub.call(lambda query=query: list(hub.api.list_models(**query)), tries=1):
            yield read_candidate(info)


def _pinned(hub: Hub, references: Sequence[PinnedModel]) -> tuple[list[Candidate], list[Verdict]]:
    """Pinned models at their revisions; one that is not there is refused, not fatal."""
    found, lost = [], []
    for place, reference in enumerate(references):
        try:
            found.append(look(hub, reference.repo, reference.revision, place))
        except (HubNotFound, HubForbidden) as error:
            lost.append(Verdict(reference.repo, None, False, f"pinned, but {_without(error, reference.repo)}"))
    return found, lost


def _looked_at(hub: Hub, candidates: Iterable[Candidate]) -> tuple[list[Candidate], list[Verdict]]:
    """Candidates again from their own pages, at the commits that the list told."""
    seen, vanished = [], []
    for candidate in candidates:
        try:
            page = candidate if candidate.pinned is not None else look(hub, candidate.repo, candidate.sha or None)
        except (HubNotFound, HubForbidden) as error:
            vanished.append(_refused(candidate, f"listed, but {_without(error, candidate.repo)}"))
        else:
            seen.append(page)
    return seen, vanished


def _sort_out(
    candidates: Iterable[Candidate], watchlist: Watchlist, now: datetime
) -> tuple[list[Candidate], list[Verdict]]:
    kept, refused = [], []
    for candidate in candidates:
        reason = first_refusal(candidate, watchlist, now)
        if reason is None:
            kept.append(candidate)
        else:
            refused.append(_refused(candidate, reason))
    return kept, refused


def _refused(candidate: Candidate, reason: str) -> Verdict:
    return Verdict(candidate.repo, candidate.sha or None, False, reason)


def _without(error: Exception, repo: str) -> str:
    """The error's words without the repo's name, which the verdict has already."""
    return str(error).removeprefix(f"{repo}: ")
