"""Whom the page lets in, and where it sends them afterwards."""

from __future__ import annotations

import pytest

from bot.service.page.login.allow_list import HubPerson, Membership, parse_allow_list
from bot.service.page.login.targets import local_target


def person(name: str = "anna", *memberships: tuple[str, str | None, bool]) -> HubPerson:
    """A person, with (organisation, role, whether it still asks for something)."""
    return HubPerson(name, tuple(Membership(org, f"id-{org}", role, barred) for org, role, barred in memberships))


@pytest.mark.parametrize(
    ("entry", "who", "is_in"),
    [
        ("user:anna", person("anna"), True),
        ("user:anna", person("Anna"), False),  # whether names that differ so are one account, the Hub does not say
        ("user:reef", person("berta", ("reef", "admin", False)), False),
        ("org:anna", person("anna"), False),
        ("org:reef", person("berta", ("reef", None, False)), True),
        ("org:reef", person("berta", ("reef", None, True)), False),
        ("org:reef:write", person("berta", ("reef", "admin", False)), True),
        ("org:reef:write", person("berta", ("reef", "write", False)), True),
        ("org:reef:write", person("berta", ("reef", "contributor", False)), False),
        ("org:reef:write", person("berta", ("reef", None, False)), False),
        ("org:reef:read", person("berta", ("reef", "a-role-of-its-own", False)), False),
        ("org:reef:admin", person("berta", ("reef", "admin", True)), False),
    ],
)
def test_the_list_lets_in_whom_it_names(entry: str, who: HubPerson, is_in: bool) -> None:
    assert parse_allow_list([entry]).admits(who) is is_in
    assert parse_allow_list(["user:nobody", entry]).admits(who) is is_in
    assert not parse_allow_list([]).admits(who)


def test_only_roles_that_decide_are_asked_for() -> None:
    allowed = parse_allow_list(["org:reef:write", "org:tide"])
    who = person("berta", ("reef", None, False), ("tide", None, True), ("other", None, False))
    assert allowed.find_unseen_orgs(who) == ("id-reef",)
    assert allowed.find_unseen_orgs(person("berta", ("reef", "read", False))) == ()


@pytest.mark.parametrize("path", ["/", "/?x=1", "/cycles/small-1", "/cycles/a%20b/front/ff?x=math&y=cross"])
def test_pages_of_ours_are_targets(path: str) -> None:
    assert local_target(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"),
        *("/cycles//evil.example", "/cycles/a\n", "/cycles/é", "/cycles/a#b", '/cycles/a"', "/?" + "x" * 600),
        *("/logout", "/login", "/assets/page.js"),
    ],
)
def test_anything_else_is_not(path: str) -> None:
    assert local_target(path) == "/"
