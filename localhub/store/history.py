"""The commit that changed each file last."""

from __future__ import annotations

from dataclasses import dataclass

from localhub.store.commits import list_parents
from localhub.store.repo import Repo


@dataclass(frozen=True)
class LastChange:
    """The commit that changed a file, or anything in a folder, last; the client reads it by these names."""

    id: str
    title: str
    date: str


def find_last_changes(repo: Repo, sha: str) -> dict[str, LastChange]:
    """The last change of each file and each folder at a commit, by path."""
    found: dict[str, LastChange] = {}
    unexplained = dict(repo.tree(sha))
    for id, commit in repo.history(sha):
        before = repo.tree(commit.parents[0]) if commit.parents else {}
        for path in [path for path, entry in unexplained.items() if before.get(path) != entry]:
            found[path] = LastChange(id, commit.title, commit.date)
            del unexplained[path]
        if not unexplained:
            break
    for path, change in list(found.items()):
        for folder in list_parents(path):
            if folder not in found or change.date > found[folder].date:
                found[folder] = change
    return found
