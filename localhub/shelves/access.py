"""The repo in the path of a route on data sets or Spaces, if the caller may see it, read its files or change it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.convertors import Convertor, register_url_convertor

from localhub.errors import repo_not_found
from localhub.names import is_name
from localhub.protocol.access import CurrentCaller
from localhub.shelves.shelf import Shelf, ShelfKind
from localhub.store.repo import Repo


class _Kind(Convertor[str]):
    """The first segment of an address: the kind of repo."""

    regex = "datasets|spaces"

    def convert(self, value: str) -> str:
        return value


class _Spaces(_Kind):
    """The same for what only Spaces have."""

    regex = "spaces"


register_url_convertor("shelf", _Kind())
register_url_convertor("space", _Spaces())


def _find_visible(caller: CurrentCaller, kind: ShelfKind, owner: str, name: str) -> Repo:
    """The repo; RepoNotFound if it does not exist for the caller."""
    found = Shelf(caller.store, kind).find(f"{owner}/{name}") if is_name(owner) and is_name(name) else None
    if found is None or not caller.sees(found.owner, private=found.settings().private):
        raise repo_not_found(known_caller=caller.identity is not None)
    return found


VisibleShelved = Annotated[Repo, Depends(_find_visible)]


def _find_readable(caller: CurrentCaller, kind: ShelfKind, repo: VisibleShelved) -> Repo:
    """The repo, if the caller may read its files; otherwise GatedRepo."""
    return caller.check_reads(repo, kind.removesuffix("s"))


def _find_writable(caller: CurrentCaller, repo: VisibleShelved) -> Repo:
    """The repo, if the caller may change it; a 401 without a token, a 403 with the wrong one."""
    caller.check_writes(repo.owner, f"change {repo.id}", repo=repo.id)
    return repo


ReadableShelved = Annotated[Repo, Depends(_find_readable)]
WritableShelved = Annotated[Repo, Depends(_find_writable)]
