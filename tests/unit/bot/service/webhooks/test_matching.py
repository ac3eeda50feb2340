"""Which watchlists a change concerns, as far as a call tells."""

from __future__ import annotations

from typing import Any

import pytest

from bot.hub.discovery.rules import OWN_TAG
from bot.ledger.webhook_calls import KnownRepos
from bot.service.webhooks.event import HubChange
from bot.service.webhooks.matching import reason_to_ignore, reason_to_wake
from fixtures.cycles import small_watchlist

SHA = "a" * 40
KNOWN = KnownRepos(frozenset({"ann/source"}), frozenset({"ann/source", "bea/refused"}))
NONE = KnownRepos(frozenset(), frozenset())


def change(
    repo: str = "zoe/new", *tags: str, ref: str = "refs/heads/main", scope: str | None = "repo.content", **others: Any
) -> HubChange:
    """A commit to a model, or another change."""
    values: dict[str, Any] = {"action": "update", "kind": "model", "moved_to": None, "refs": ((ref, SHA),)}
    return HubChange(scope=scope, repo=repo, tags=frozenset(tags), key="k", **values | others)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (change(scope=None), "its scope is not known"),
        (change(scope="discussion.comment", refs=()), "what people write"),
        (change(kind="dataset"), "it is a dataset"),
        (change("reef/release"), "a release of this bot"),
        (change("reef/old", scope="repo", action="move", moved_to="reef/release", refs=()), "a release of this bot"),
        (change(), None),
    ],
)
def test_what_concerns_no_watchlist_is_ignored_with_the_reason(told: HubChange, reason: str | None) -> None:
    found = reason_to_ignore(told, {"reef/release"})
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("watched", "told", "reason"),
    [
        ({"pinned": ["pia/model"]}, change("pia/model"), "pinned"),
        ({"base": {"repo": "bob/base"}}, change("bob/base"), "its base"),
        ({}, change("ann/source"), "a source of earlier cycles"),
        ({}, change("bea/refused"), "a candidate of earlier cycles"),
        ({}, change("ann/old", scope="repo", action="move", moved_to="ann/source", refs=()), "a source"),
        ({}, change("ann/source", scope="repo", action="delete", refs=()), "a source"),
        ({}, change("ann/source", scope="repo.config", refs=()), "a source"),
        ({}, change("ann/source", refs=()), "a source"),  # a newer Hub may tell no references
        # Other branches, tags and pull requests matter where they are named, or where pickles are converted.
        ({}, change("ann/source", ref="refs/heads/dev"), None),
        ({}, change("ann/source", ref="refs/pr/3"), None),
        ({"watch": {"pickles": "convert"}}, change("ann/source", ref="refs/pr/3"), "a source"),
        ({"pinned": [{"repo": "pia/model", "revision": "v1"}]}, change("pia/model"), None),
        ({"pinned": [{"repo": "pia/model", "revision": "v1"}]}, change("pia/model", ref="refs/tags/v1"), "pinned"),
    ],
)
def test_a_change_of_a_repo_that_a_watchlist_knows_wakes_it(
    watched: dict[str, Any], told: HubChange, reason: str | None
) -> None:
    found = reason_to_wake(small_watchlist(**watched), KNOWN, told)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("watch", "told", "matches"),
    [
        ({}, change("zoe/new", "shoal-zoo", "safetensors"), True),
        ({}, change("zoe/new", "merge"), False),
        ({}, change("zoe/new"), False),
        ({}, change("ann/new"), True),  # a known owner's repo, whose tags the Hub does not know yet
        ({}, change("ann/new", "merge"), False),
        ({}, change("ann/new", "shoal-zoo", OWN_TAG), False),
        ({}, change("ann/new", "shoal-zoo", scope="repo", action="delete", refs=()), False),
        ({"authors": {"deny": ["zoe"]}}, change("zoe/new", "shoal-zoo"), False),
        ({"authors": {"allow": ["ann"]}}, change("zoe/new", "shoal-zoo"), False),
        ({"authors": {"allow": ["zoe"]}}, change("zoe/new"), True),
        ({"search": "Math"}, change("zoe/tiny-math", "shoal-zoo"), True),
        ({"search": "Math"}, change("zoe/new", "shoal-zoo"), False),
        ({"tags": []}, change("ann/new", "shoal-zoo"), False),  # it lists nothing, so it finds no new model
        ({"tags": [], "search": "new"}, change("zoe/new"), True),
    ],
)
def test_a_new_model_wakes_a_watchlist_that_could_find_it(
    watch: dict[str, Any], told: HubChange, matches: bool
) -> None:
    found = reason_to_wake(small_watchlist(watch=watch), KNOWN, told)
    assert found == ("matches what it watches" if matches else None)


def test_the_owner_of_a_pinned_model_is_known_before_the_first_cycle() -> None:
    watchlist = small_watchlist(pinned=["pia/model"])
    assert reason_to_wake(watchlist, NONE, change("pia/new")) == "matches what it watches"
    assert reason_to_wake(watchlist, NONE, change("ann/new")) is None
