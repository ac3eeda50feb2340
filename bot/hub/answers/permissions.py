"""What a token may write, by the Hub's account of it (`whoami`).

A fine-grained token lists its permissions for users, organisations and single repos. Other tokens write wherever their
owner does. The account is read leniently: whatever it does not say, or says in words that are not known here, refuses
nothing and is returned as a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

REPO_WRITE, COLLECTION_WRITE, DISCUSSION_WRITE = "repo.write", "collection.write", "discussion.write"

_WRITING_ROLES, _READING_ROLES = frozenset({"admin", "write", "contributor"}), frozenset({"read", "no_access"})
_FINE_GRAINED = "fineGrained"


@dataclass(frozen=True)
class TokenAccount:
    """A token and its owner.

    owner: the user. orgs: organisation → the user's role in it, None where the Hub does not say.
    role: "read", "write", "fineGrained", another word, or None.
    scoped: user, organisation or repo → the permissions of a fine-grained token there.
    everywhere: permissions that are not bound to an entity.
    """

    owner: str
    orgs: Mapping[str, str | None]
    role: str | None
    scoped: Mapping[str, frozenset[str]]
    everywhere: frozenset[str]

    def places(self, permission: str) -> tuple[str, ...]:
        """The entities on which a fine-grained token has a permission."""
        return tuple(name for name, permissions in self.scoped.items() if permission in permissions)


@dataclass(frozen=True)
class WriteAccess:
    """Whether releases can be published: the reason why not, if one is known, and what cannot be known."""

    refusal: str | None = None
    warnings: tuple[str, ...] = ()


def read_account(me: Mapping[str, object]) -> TokenAccount:
    """Read the answer to whoami."""
    token = _get_mapping(_get_mapping(me, "auth"), "accessToken")
    fine = _get_mapping(token, "fineGrained")
    scoped: dict[str, frozenset[str]] = {}
    for entry in _list_mappings(fine, "scoped"):
        name = str(_get_mapping(entry, "entity").get("name"))
        scoped[name] = scoped.get(name, frozenset()) | _get_texts(entry, "permissions")
    orgs = {str(org.get("name")): _get_text(org, "roleInOrg") for org in _list_mappings(me, "orgs")}
    return TokenAccount(str(me.get("name")), orgs, _get_text(token, "role"), scoped, _get_texts(fine, "global"))


def check_write_access(
    account: TokenAccount,
    namespace: str,
    *,
    collections: bool = False,
    discussions: bool = False,
    repos: Collection[str] | None = None,
) -> WriteAccess:
    """Whether the token may publish to a namespace.

    collections: whether to a collection as well. discussions: whether by pull requests. repos: those that releases may
    go to, None while they are not known.
    """
    if account.role == "read":
        return WriteAccess(f"publish.namespace: got {namespace!r}: the token may only read; use one that writes")
    if account.role == _FINE_GRAINED:
        access = _check_fine_grained(account, namespace, collections, repos)
        if not discussions or access.refusal or DISCUSSION_WRITE in _list_permissions(account, namespace):
            return access
        lacking = f"publish.mode: the token may lack {DISCUSSION_WRITE} in {namespace}: only the upload shows whether "
        return WriteAccess(None, (*access.warnings, f"{lacking}it may open pull requests"))
    own = namespace == account.owner
    role = account.orgs.get(namespace)
    unlisted = namespace not in account.orgs and account.role == "write"
    if not own and (unlisted or role in _READING_ROLES):
        writable = [org for org, role in account.orgs.items() if role not in _READING_ROLES]
        return WriteAccess(_refuse_namespace(account, namespace, [account.owner, *writable]))
    warnings = []
    if account.role != "write":
        warnings.append(
            f"the Hub gives the token's role as {account.role!r}: only the upload shows whether it may write"
        )
    if not own and role not in _WRITING_ROLES:
        warnings.append(f"your role in {namespace} is {role!r}: only the upload shows whether it may write")
    return WriteAccess(None, tuple(warnings))


def _check_fine_grained(
    account: TokenAccount, namespace: str, collections: bool, repos: Collection[str] | None
) -> WriteAccess:
    places = account.places(REPO_WRITE)
    warnings: tuple[str, ...] = ()
    if REPO_WRITE not in account.everywhere and namespace not in places:
        single = [place for place in places if place.startswith(f"{namespace}/")]
        covered = single if repos is None else sorted(set(repos) & set(single))
        if not covered:
            return WriteAccess(_refuse_namespace(account, namespace, places))
        warnings = (f"the token may write only to {', '.join(covered)}: releases for other repos would be refused",)
    if collections and COLLECTION_WRITE not in _list_permissions(account, namespace):
        return WriteAccess(
            f"publish.collection: the token may not write to collections of {namespace}; "
            f"give it the permission {COLLECTION_WRITE} there, or remove publish.collection"
        )
    return WriteAccess(None, warnings)


def _list_permissions(account: TokenAccount, namespace: str) -> frozenset[str]:
    """A fine-grained token's permissions in a namespace."""
    return account.everywhere | account.scoped.get(namespace, frozenset())


def _refuse_namespace(account: TokenAccount, namespace: str, places: Collection[str]) -> str:
    remedy = f"give it the permission {REPO_WRITE} there" if account.role == _FINE_GRAINED else "choose one of these"
    return (
        f"publish.namespace: got {namespace!r}: the token belongs to {account.owner}, "
        f"and may write to {', '.join(places) or 'nothing'}; {remedy}, or use another token"
    )


def _get_mapping(value: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _list_mappings(value: Mapping[str, object], key: str) -> Iterator[Mapping[str, object]]:
    found = value.get(key)
    return (item for item in found if isinstance(item, Mapping)) if isinstance(found, list) else iter(())


def _get_text(value: Mapping[str, object], key: str) -> str | None:
    found = value.get(key)
    return found if isinstance(found, str) else None


def _get_texts(value: Mapping[str, object], key: str) -> frozenset[str]:
    found = value.get(key)
    return frozenset(item for item in found if isinstance(item, str)) if isinstance(found, list) else frozenset()
