"""Whom the page lets in who logs in with an account of the Hub: users, members of organisations, by role."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bot.errors import ShoalError

ROLES = ("read", "contributor", "write", "admin")
"""Roles in an organisation, in the Hub's words, the least first."""

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
"""The name of a user or an organisation."""

_ENTRY = re.compile(rf"(?:user:({HUB_NAME.pattern})|org:({HUB_NAME.pattern})(?::({'|'.join(ROLES)}))?)")


@dataclass(frozen=True)
class Membership:
    """A person's place in an organisation.

    id: the Hub's id of the organisation. role: None where the Hub does not say it, because the person has not let the
    OAuth app see the organisation. is_barred: whether the organisation still asks for a login or a second factor.
    """

    org: str
    id: str
    role: str | None
    is_barred: bool


@dataclass(frozen=True)
class HubPerson:
    """Who has logged in at the Hub."""

    name: str
    memberships: tuple[Membership, ...]


@dataclass(frozen=True)
class AllowList:
    """Users by name, and organisations with the least role that is let in; None: every member."""

    users: frozenset[str]
    orgs: tuple[tuple[str, str | None], ...]

    def admits(self, person: HubPerson) -> bool:
        """Whether a person is let in."""
        return person.name in self.users or any(
            membership.org == org and not membership.is_barred and _has_role(membership.role, least)
            for membership in person.memberships
            for org, least in self.orgs
        )

    def find_unseen_orgs(self, person: HubPerson) -> tuple[str, ...]:
        """The ids of the organisations of which the person's role would decide, and the Hub does not say it."""
        deciding = {org for org, least in self.orgs if least is not None}
        return tuple(one.id for one in person.memberships if one.org in deciding and one.role is None)


def parse_allow_list(entries: Sequence[str]) -> AllowList:
    """The list of `user:NAME`, `org:NAME` and `org:NAME:ROLE`; ShoalError for anything else."""
    users, orgs = set(), []
    for entry in entries:
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise ShoalError(
                f"--allow: got {entry!r}: write user:NAME, org:NAME or org:NAME:ROLE, where ROLE is one of "
                f"{', '.join(ROLES)}, the least that is let in"
            )
        user, org, role = found.groups()
        if user is not None:
            users.add(user)
        else:
            orgs.append((org, role))
    return AllowList(frozenset(users), tuple(orgs))


def _has_role(role: str | None, least: str | None) -> bool:
    return least is None or (role in ROLES and ROLES.index(role) >= ROLES.index(least))
