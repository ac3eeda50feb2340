"""The one exception of the local Hub, which carries the HTTP answer to a request that cannot be served."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class HubError(Exception):
    """An answer that is not a success.

    status: the HTTP status.
    code: the word by which the client picks its own exception (header `X-Error-Code`), if there is one.
    body: further keys of the JSON answer.
    headers: further headers.
    """

    status: int
    message: str
    code: str | None = None
    body: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


def repo_not_found(*, known_caller: bool) -> HubError:
    """The repo is absent, or private to others: the answer must not say which."""
    message = "Repository not found" if known_caller else "Invalid username or password."
    return HubError(404 if known_caller else 401, message, code="RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    """The repo has no such branch, tag or commit."""
    return HubError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, commit: str, message: str = "") -> HubError:
    """The commit has no such path. Clients cache the absence by commit, so its id goes with the answer."""
    headers = {"X-Repo-Commit": commit}
    return HubError(404, message or f"{path} does not exist", code="EntryNotFound", headers=headers)


def bad_request(message: str) -> HubError:
    """The request breaks a rule; `message` names the rule and the value received."""
    return HubError(400, message)
