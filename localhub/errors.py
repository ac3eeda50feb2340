"""What the local Hub answers when it cannot do what was asked: one exception, which carries the HTTP
answer."""

from __future__ import annotations

from collections.abc import Mapping


class HubError(Exception):
    """An answer that is not a success.

    `status` is the HTTP status, `code` the word the client's exceptions are chosen by (`X-Error-Code`),
    `body` further keys of the JSON answer and `headers` further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.body = dict(body or {})
        self.headers = dict(headers or {})


def repo_not_found(*, known_caller: bool) -> HubError:
    """A repo that is absent, or private to others: the Hub tells the two apart to nobody."""
    message = "Repository not found" if known_caller else "Invalid username or password."
    return HubError(404 if known_caller else 401, message, code="RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    """A branch, tag or commit that the repo does not have."""
    return HubError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, commit: str) -> HubError:
    """A path that the commit does not have; the commit's id goes with the answer, as clients cache the
    absence."""
    return HubError(404, f"{path} does not exist", code="EntryNotFound", headers={"X-Repo-Commit": commit})


def gated(repo: str, *, known_caller: bool) -> HubError:
    """Files of a gated repo, asked for by somebody who has not been let in."""
    if known_caller:
        return HubError(403, f"Access to model {repo} is restricted: ask its owner for access.", code="GatedRepo")
    return HubError(401, f"Access to model {repo} is restricted: log in with a token.", code="GatedRepo")


def bad_request(message: str) -> HubError:
    """A request that breaks a rule, which `message` names together with the value received."""
    return HubError(400, message)


def no_token() -> HubError:
    """A write, or a question about oneself, without a token."""
    return HubError(401, "Invalid username or password.")


def forbidden(message: str) -> HubError:
    """A token that is good but not for this."""
    return HubError(403, message)
