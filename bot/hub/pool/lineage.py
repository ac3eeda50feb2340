"""The declared ancestors of a pool's members, and whether all their licences go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from bot.hub.discovery.candidate import Candidate, Verdict
from bot.hub.discovery.listing import MAX_ANCESTORS, LookUp
from bot.hub.inspection.member import Member
from bot.hub.licences import (
    DeclaredLicence,
    declare_licences,
    licence_conflict,
    licence_refusal,
)
from templates.escaping import plain

Lineage = Mapping[str, tuple[DeclaredLicence, ...]]
"""For each member's repo, the licences of the ancestors that it declares."""


class Licensed(Protocol):
    """What has a licence: a member of a pool, or the last stage's adapter."""

    @property
    def candidate(self) -> Candidate:
        """The repo, with the licence that its card declares."""

    @property
    def repo(self) -> str:
        """owner/name."""


def keep_compatible_licences(
    members: Sequence[Member],
    given: Sequence[Licensed],
    lineage: Lineage,
    noncommercial: bool,
) -> tuple[list[Member], list[Verdict]]:
    """Keep members whose licences, and their ancestors', go together with what is given and with earlier members'."""
    kept: list[Member] = []
    conflicting: list[Verdict] = []
    for member in members:
        reason = refuse_licences(member, [*kept, *given], lineage, noncommercial)
        if reason is None:
            kept.append(member)
        else:
            conflicting.append(member.refuse(reason))
    return kept, conflicting


def refuse_licences(member: Licensed, others: Sequence[Licensed], lineage: Lineage, noncommercial: bool) -> str | None:
    """Why the licences of a member and its ancestors do not allow a merge with the others; None if they do."""
    own = member_licences(member, lineage)
    reasons = [reason for entry in own if (reason := licence_refusal(entry, noncommercial=noncommercial))]
    together = [entry for other in others for entry in member_licences(other, lineage)]
    return reasons[0] if reasons else licence_conflict([*together, *own])


def find_ancestors(look_up: LookUp, candidate: Candidate, also: Iterable[str] = ()) -> tuple[DeclaredLicence, ...]:
    """The licences of all ancestors of a candidate, as its card and theirs declare them.

    also: further repos that it descends from, such as the base that an adapter is added to.

    They may form cycles, and name one model in several ways. A model that cannot be seen has an unknown licence.
    """
    found: dict[str, tuple[DeclaredLicence, ...]] = {}
    asked: set[str] = set()
    waiting = [*candidate.base_models, *also]
    while waiting:
        name = waiting.pop(0)
        if name in asked or name == candidate.repo:
            continue
        if len(asked) == MAX_ANCESTORS:
            why = f"is beyond the {MAX_ANCESTORS} ancestors that are looked up"
            found[name] = (DeclaredLicence(plain(name)[:96], None, ancestor=True, unseen=why),)
            break
        asked.add(name)
        page = look_up(name)
        if page is None:
            why = "cannot be seen on the Hub"
            found[name] = (DeclaredLicence(plain(name)[:96], None, ancestor=True, unseen=why),)
        elif page.repo not in found and page.repo != candidate.repo:
            found[page.repo] = declare_licences(page, ancestor=True)
            waiting += page.base_models
    return tuple(entry for declared in found.values() for entry in declared)


def member_licences(member: Licensed, lineage: Lineage) -> tuple[DeclaredLicence, ...]:
    return (*declare_licences(member.candidate), *lineage[member.repo])
