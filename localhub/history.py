"""Which commit touched what last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localhub.repo import Repo


@dataclass(frozen=True)
class Change:
    """The commit that a file or folder was changed by last."""

    id: str
    title: str
    date: str


def last_changes(repo: Repo, sha: str) -> dict[str, Change]:
    """For each file at a commit, the commit that set it last."""
    found: dict[str, Change] = {}
    still = dict(repo.tree(sha))
    for id, commit in repo.history(sha):
        before = repo.tree(commit.parents[0]) if commit.parents else {}
        for path in [path for path, entry in still.items() if before.get(path) != entry]:
            found[path] = Change(id, commit.title, commit.date)
            del still[path]
        if not still:
            break
    return found


def last_change(changes: Mapping[str, Change], path: str) -> Change:
    """The latest change of a file, or of anything inside a folder."""
    inside = [change for file, change in changes.items() if file == path or file.startswith(f"{path}/")]
    return max(inside, key=lambda change: change.date)
