"""What a call of the Hub tells, read from its payload (version 3).

The client's own class for payloads is not used: it loses the commit, and refuses what newer Hubs may send.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from bot.errors import ShoalError

MAIN_REF, PULL_REFS = "refs/heads/main", "refs/pr/"

_SCOPES = frozenset({"repo", "repo.content", "repo.config", "discussion", "discussion.comment"})
_ACTIONS = {"repo": ("create", "delete", "move")}
"""The actions of a scope other than `update`, which every other action is taken for."""

_COMMIT = re.compile(r"[0-9a-f]{40}")

_Word = Annotated[str, Field(max_length=200)]


class MalformedCallError(ShoalError):
    """The body is no payload of the Hub."""


@dataclass(frozen=True)
class HubChange:
    """Something that happened in a repo.

    scope: one of the Hub's, or None for one that is not known at all. kind: "model", "dataset", … . moved_to: its new
    name, if it got one. refs: the references that point to other commits now, with these (None: it was deleted). tags:
    the repo's; empty where the Hub names none. key: equal for calls that tell the same.
    """

    scope: str | None
    action: str
    kind: str
    repo: str
    moved_to: str | None
    refs: tuple[tuple[str, str | None], ...]
    tags: frozenset[str]
    key: str

    @property
    def names(self) -> frozenset[str]:
        """The names by which the repo may be known."""
        return frozenset({self.repo} | ({self.moved_to} if self.moved_to else set()))

    @property
    def owners(self) -> frozenset[str]:
        """Who owns the repo, before and now."""
        return frozenset(name.partition("/")[0] for name in self.names)

    def describe(self) -> str:
        """`repo.content update of ada/m at 1234567`."""
        commit = dict(self.refs).get(MAIN_REF) or next((sha for _, sha in self.refs if sha), None)
        moved = f", now {self.moved_to}" if self.moved_to else ""
        return f"{self.scope or 'unknown'} {self.action} of {self.repo}{moved}" + (
            f" at {commit[:7]}" if commit else ""
        )


class _Event(BaseModel):
    action: _Word
    scope: _Word


class _Repo(BaseModel):
    type: _Word
    name: Annotated[str, Field(min_length=1, max_length=200)]
    tags: tuple[str, ...] | None = None


class _Ref(BaseModel):
    ref: _Word
    old: str | None = Field(default=None, alias="oldSha")
    new: str | None = Field(default=None, alias="newSha")


class _MovedTo(BaseModel):
    name: _Word


class _Payload(BaseModel):
    """The parts of a payload that matter here; all others are ignored."""

    event: _Event
    repo: _Repo
    refs: tuple[_Ref, ...] | None = Field(default=None, alias="updatedRefs")
    moved_to: _MovedTo | None = Field(default=None, alias="movedTo")


def parse_call(body: bytes) -> HubChange:
    """What a call tells.

    Raises:
        MalformedCallError: the body is not JSON, or not a payload.
    """
    try:
        values = json.loads(body)
        payload = _Payload.model_validate(values)
        told = json.dumps({key: part for key, part in values.items() if key != "webhook"}, sort_keys=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MalformedCallError(f"the body is no payload of the Hub: {place or 'body'}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise MalformedCallError("the body is not JSON") from None
    scope, action = _known_event(payload.event.scope, payload.event.action)
    kind, repo, refs = payload.repo.type, payload.repo.name, _changed_refs(payload)
    moved_to = payload.moved_to.name if payload.moved_to else None
    if any(commit for _, commit in refs):
        # With the commit before: a branch may come back to one that it has left.
        told = json.dumps([kind, repo, sorted(([one.ref, one.old, one.new] for one in payload.refs or ()), key=str)])
    key = hashlib.sha256(told.encode()).hexdigest()
    return HubChange(scope, action, kind, repo, moved_to, refs, frozenset(payload.repo.tags or ()), key)


def _known_event(scope: str, action: str) -> tuple[str | None, str]:
    """(scope, action) in words that are known: an unknown scope is an update of the broader one, as the Hub advises."""
    if scope in _SCOPES:
        return scope, action if action in _ACTIONS.get(scope, ()) else "update"
    broader = scope
    while broader not in _SCOPES:
        broader, dot, _ = broader.rpartition(".")
        if not dot:
            return None, "update"
    return broader, "update"


def _changed_refs(payload: _Payload) -> tuple[tuple[str, str | None], ...]:
    return tuple((one.ref, one.new if one.new and _COMMIT.fullmatch(one.new) else None) for one in payload.refs or ())
