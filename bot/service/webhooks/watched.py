"""Whom the Hub is to watch for some watchlists. It watches users, organisations and repos, never tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.watchlist.sections import PinnedModel, WatchSection
from bot.watchlist.watchlist import Watchlist


@dataclass(frozen=True)
class OwnerToWatch:
    """A user or an organisation, and why it is to be watched."""

    name: str
    reason: str


def owners_to_watch(watchlists: Sequence[Watchlist], sources: Mapping[str, Sequence[str]]) -> tuple[OwnerToWatch, ...]:
    """The owners of the models that watchlists name, those that they allow, and those of known sources, each once.

    sources: repos that earlier cycles merged, by the watchlist's name. What publishes the releases is watched only if
    models of its own are merged.
    """
    found: dict[str, OwnerToWatch] = {}
    for watchlist in watchlists:
        for owner in _owners(watchlist, sources.get(watchlist.name, ())):
            found.setdefault(owner.name, owner)
    return tuple(found.values())


def blind_spots(watchlists: Sequence[Watchlist]) -> tuple[str, ...]:
    """The names of the watchlists that find models by tags or words, of owners whom nobody knows before."""
    return tuple(one.name for one in watchlists if _by_words(one.watch))


def _owners(watchlist: Watchlist, sources: Sequence[str]) -> Iterator[OwnerToWatch]:
    name = watchlist.name
    for key, reference in watchlist.named_sources:
        role = "the carrier of" if key == "carrier" else "pinned in"
        yield OwnerToWatch(_owner(reference.repo), f"{reference.repo} is {role} {name}")
    if isinstance(watchlist.base, PinnedModel):
        yield OwnerToWatch(_owner(watchlist.base.repo), f"{watchlist.base.repo} is the base of {name}")
    for owner in watchlist.watch.authors.allow:
        yield OwnerToWatch(owner, f"{name} allows it")
    for repo in sources:
        if _owner(repo) not in watchlist.watch.authors.deny:
            yield OwnerToWatch(_owner(repo), f"{repo} was a source of {name}")


def _by_words(watch: WatchSection) -> bool:
    return any(one.tags or one.search for one in watch.sought) and not watch.authors.allow


def _owner(repo: str) -> str:
    return repo.partition("/")[0]
