"""Which watchlists a change on the Hub concerns. Nothing is asked of the Hub: what the call tells has to do."""

from __future__ import annotations

from collections.abc import Collection

from bot.hub.discovery.rules import OWN_TAG
from bot.ledger.webhook_calls import KnownRepos
from bot.service.webhooks.event import MAIN_REF, PULL_REFS, HubChange
from bot.watchlist.sections import LanguageModelsSection, PinnedModel, WatchSection
from bot.watchlist.watchlist import Watchlist


def reason_to_ignore(change: HubChange, released: Collection[str]) -> str | None:
    """Why a change concerns no watchlist at all; None if it may concern one. released: the bot's own releases."""
    if change.scope is None:
        return "its scope is not known here"
    if change.scope.startswith("discussion"):
        return "what people write changes no model"
    if change.kind != "model":
        return f"it is a {change.kind}, not a model"
    if change.names & set(released):
        return "it is a release of this bot"
    return None


def reason_to_wake(watchlist: Watchlist, known: KnownRepos, change: HubChange) -> str | None:
    """Why a change concerns a watchlist; None if it does not."""
    named = [(words, reference) for words, reference in _named(watchlist) if reference.repo in change.names]
    if named:  # and so not found in any other way
        moved = (words for words, reference in named if _moves(change, reference.revision, watchlist.watch))
        return next(moved, None)
    if not _moves(change, None, watchlist.watch):
        return None
    if change.names & known.sources:
        return "a source of earlier cycles"
    if change.names & known.candidates:
        return "a candidate of earlier cycles"
    return "matches what it watches" if _could_match(watchlist, known, change) else None


def _named(watchlist: Watchlist) -> tuple[tuple[str, PinnedModel], ...]:
    """The models that a watchlist names, each with what it is there."""
    base = (("its base", watchlist.base),) if isinstance(watchlist.base, PinnedModel) else ()
    sources = (("its carrier" if key == "carrier" else "pinned", model) for key, model in watchlist.named_sources)
    return (*sources, *base)


def _moves(change: HubChange, revision: str | None, watch: WatchSection) -> bool:
    """Whether a revision (None: the main branch) may mean other files now."""
    if change.scope != "repo.content" or not change.refs:
        return True
    wanted = {MAIN_REF} if revision is None else {f"refs/heads/{revision}", f"refs/tags/{revision}", revision}
    # The Hub's bot converts pickles in a pull request.
    return any(name in wanted or (watch.pickles == "convert" and name.startswith(PULL_REFS)) for name, _ in change.refs)


def _could_match(watchlist: Watchlist, known: KnownRepos, change: HubChange) -> bool:
    """Whether discovery could list the repo, as far as the call tells.

    A call about a new repo may come before its tags. An owner whose models were merged before gets the benefit of the
    doubt, and so does one that the watchlist allows by name; anybody else's repo has to have the tags.
    """
    watch = watchlist.watch
    if change.action == "delete" or OWN_TAG in change.tags:
        return False
    if change.owners & set(watch.authors.deny):
        return False
    if watch.authors.allow and not change.owners & set(watch.authors.allow):
        return False
    owners = {repo.partition("/")[0] for repo in (*known.sources, *(one.repo for _, one in _named(watchlist)))}
    trusted = bool(watch.authors.allow or change.owners & owners)
    return any(_is_sought(one, change, trusted) for one in watch.sought)


def _is_sought(sought: WatchSection | LanguageModelsSection, change: HubChange, trusted: bool) -> bool:
    """trusted: whether the owner gets the benefit of the doubt."""
    if sought.search and not any(sought.search.lower() in name.lower() for name in change.names):
        return False
    return set(sought.tags) <= change.tags if change.tags or not sought.tags else trusted
