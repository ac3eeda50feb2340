import pytest

from bot.hub.answers.permissions import check_write_access, read_account

ORGS = [{"name": "reef", "roleInOrg": "admin"}, {"name": "bay", "roleInOrg": "read"}, {"name": "sea"}]


def me(role="write", orgs=ORGS, scoped=(), everywhere=()):
    """An answer to whoami, in the form recorded of the real Hub."""
    token = {"displayName": "t", "role": role, "createdAt": "2026-01-01T00:00:00.000Z"}
    if role == "fineGrained":
        entries = [
            {"entity": {"_id": "0" * 24, "type": "user", "name": name}, "permissions": list(permissions)}
            for name, permissions in scoped
        ]
        token["fineGrained"] = {"canReadGatedRepos": True, "global": list(everywhere), "scoped": entries}
    return {"type": "user", "name": "ada", "orgs": orgs, "auth": {"type": "access_token", "accessToken": token}}


def fine(*scoped, everywhere=()):
    return me("fineGrained", scoped=scoped, everywhere=everywhere)


def check(account, namespace, **options):
    return check_write_access(read_account(account), namespace, **options)


WRITE = ["repo.content.read", "repo.write"]
BOTH = [*WRITE, "collection.write"]


@pytest.mark.parametrize(
    "account, namespace",
    [
        (me(), "ada"),
        (me(), "reef"),
        (fine(("ada", WRITE)), "ada"),
        (fine(("reef", WRITE)), "reef"),
        (fine(("hidden-org", WRITE)), "hidden-org"),
        (fine(everywhere=WRITE), "anyone"),
    ],
)
def test_a_token_that_writes_there_is_accepted_without_a_word(account, namespace):
    assert check(account, namespace) == check(me(), "ada")


@pytest.mark.parametrize(
    "account, namespace, reason",
    [
        (me("read"), "ada", "the token may only read"),
        (me(), "bob", "and may write to ada, reef, sea; choose one of these"),
        (me(), "bay", "and may write to ada, reef, sea"),
        (fine(("ada", ["repo.content.read"])), "ada", "may write to nothing; give it the permission repo.write there"),
        (fine(("ada", WRITE)), "reef", "may write to ada; give it the permission repo.write there"),
        (fine(("ada/fish", WRITE)), "reef", "may write to ada/fish"),
        (me("fineGrained", scoped=()), "ada", "may write to nothing"),
    ],
)
def test_a_token_that_does_not_write_there_is_refused_with_what_it_may(account, namespace, reason):
    refusal = check(account, namespace).refusal
    assert refusal.startswith(f"publish.namespace: got {namespace!r}: ") and reason in refusal


def test_a_collection_needs_a_permission_of_its_own():
    assert check(fine(("ada", BOTH)), "ada", collections=True).refusal is None
    assert check(me(), "ada", collections=True).refusal is None
    assert check(fine(everywhere=BOTH), "ada", collections=True).refusal is None
    refusal = check(fine(("ada", WRITE)), "ada", collections=True).refusal
    assert refusal == (
        "publish.collection: the token may not write to collections of ada; "
        "give it the permission collection.write there, or remove publish.collection"
    )


def test_pull_requests_without_their_permission_are_warned_of():
    assert check(fine(("reef", WRITE)), "reef").warnings == ()
    (warning,) = check(fine(("reef", WRITE)), "reef", discussions=True).warnings
    assert warning.startswith("publish.mode: the token may lack discussion.write in reef")
    assert check(fine(("reef", [*WRITE, "discussion.write"])), "reef", discussions=True).warnings == ()


def test_a_token_for_single_repos_is_accepted_for_these_alone():
    single = fine(("ada/fish-math", WRITE))
    warning = "the token may write only to ada/fish-math: releases for other repos would be refused"
    assert check(single, "ada").warnings == (warning,)
    assert check(single, "ada", repos=["ada/fish-math", "ada/fish-best"]).warnings == (warning,)
    assert "may write to ada/fish-math;" in check(single, "ada", repos=["ada/fish-best"]).refusal


@pytest.mark.parametrize("role", ["custom-writer", None, 7])
def test_an_unknown_role_refuses_nothing_and_is_told(role):
    access = check(me(orgs=[{"name": "reef", "roleInOrg": role}]), "reef")
    shown = role if isinstance(role, str) else None
    assert access.refusal is None
    assert access.warnings == (f"your role in reef is {shown!r}: only the upload shows whether it may write",)
    assert check(me(role), "ada").warnings == (
        f"the Hub gives the token's role as {shown!r}: only the upload shows whether it may write",
    )
    assert check(me(role), "unlisted").refusal is None


@pytest.mark.parametrize("odd", [{}, {"auth": None}, {"auth": {"accessToken": []}}, {"orgs": {"reef": 1}}])
def test_an_account_in_another_form_refuses_nothing_that_it_does_not_say(odd):
    access = check({"name": "ada"} | odd, "ada")
    assert access.refusal is None and len(access.warnings) == 1
