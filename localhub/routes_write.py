"""Changing repos: create, delete, rename, settings, commits, branches, tags."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from localhub.access import Asking, Caller
from localhub.commits import belongs_in_lfs
from localhub.errors import HubError, bad_request, repo_not_found
from localhub.names import check_repo_id
from localhub.repo import MAIN, Repo
from localhub.routes_social import pull_fields
from localhub.uploads import Order, lines, read_order

router = APIRouter(prefix="/api")


class RepoName(BaseModel):
    """A repo, named as the client does: without `organization` it is the caller's own."""

    name: str
    organization: str | None = None
    type: str = "model"

    def id(self, caller: Caller) -> str:
        """owner/name; a 400 for anything but a model."""
        if self.type != "model":
            raise bad_request(f"Invalid type {self.type!r}: the local Hub keeps models only")
        return check_repo_id(f"{self.organization or caller.known().name}/{self.name}")


class NewRepo(RepoName):
    """A repo to be made."""

    private: bool = False
    visibility: Literal["public", "private"] | None = None


class Move(BaseModel):
    """A repo to be renamed."""

    fromRepo: str  # noqa: N815  the protocol's name
    toRepo: str  # noqa: N815  the protocol's name


class RepoSettings(BaseModel):
    """Settings to be changed."""

    private: bool | None = None
    visibility: Literal["public", "private"] | None = None
    gated: Literal["auto", "manual", False] | None = None


class Candidate(BaseModel):
    """A file that the client is about to commit; `sample` is its start in base64."""

    path: str
    size: int = Field(ge=0)
    sample: str = ""


class Preupload(BaseModel):
    """The files of a commit, before it."""

    files: list[Candidate] = Field(max_length=1000)


class NewBranch(BaseModel):
    """Where a branch is to start."""

    startingPoint: str = MAIN  # noqa: N815  the protocol's name


class NewTag(BaseModel):
    """The name of a tag to be made."""

    tag: str


@router.post("/repos/create")
def create_repo(caller: Asking, request: NewRepo) -> dict[str, str]:
    """A new model repo; a 409 that carries the URL if it exists."""
    id = request.id(caller)
    owner = id.partition("/")[0]
    identity = caller.check_writes(owner, f"create a model under the namespace {owner}")
    url = f"{caller.endpoint}/{id}"
    try:
        private = request.private or request.visibility == "private"
        caller.store.create_repo(id, private=private, author=identity.name)
    except HubError as error:
        if error.status == 409:
            error.body["url"] = url
        raise
    return {"url": url, "name": id}


@router.delete("/repos/delete")
def delete_repo(caller: Asking, request: RepoName) -> dict[str, str]:
    """Take a repo away."""
    owner, _, name = request.id(caller).partition("/")
    caller.store.delete_repo(caller.writable(owner, name).id)
    return {"message": "ok"}


@router.post("/repos/move")
def move_repo(caller: Asking, request: Move) -> dict[str, str]:
    """Rename a repo, or hand it to another owner."""
    owner, _, name = check_repo_id(request.fromRepo).partition("/")
    target = check_repo_id(request.toRepo)
    repo = caller.writable(owner, name)
    caller.check_writes(target.partition("/")[0], f"move a model to {target}")
    caller.store.move_repo(repo.id, target)
    return {"message": "ok"}


@router.put("/models/{owner}/{name}/settings")
def settings(caller: Asking, owner: str, name: str, request: RepoSettings) -> dict[str, Any]:
    """Set privacy and gating."""
    repo = caller.writable(owner, name)
    changes = request.model_dump(exclude_none=True, include={"private", "gated"})
    if request.visibility is not None:
        changes["private"] = request.visibility == "private"
    repo.change_settings(**changes)
    return changes


@router.post("/models/{owner}/{name}/preupload/{revision:revision}")
def preupload(
    caller: Asking, owner: str, name: str, revision: str, request: Preupload, create_pr: bool = False
) -> dict[str, Any]:
    """For each file how it is to be uploaded, and what stands there now."""
    repo = _contributed(caller, owner, name, create_pr)
    tree = repo.tree(repo.resolve(revision))

    def answer(file: Candidate) -> dict[str, Any]:
        large = belongs_in_lfs(file.path, file.size, base64.b64decode(file.sample or ""))
        present = tree.get(file.path)
        return {
            "path": file.path,
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
            "oid": present.etag if present else None,
        }

    return {"files": [answer(file) for file in request.files], "commitOid": repo.resolve(revision)}


@router.post("/models/{owner}/{name}/commit/{revision:revision}")
async def commit(
    caller: Asking, owner: str, name: str, revision: str, request: Request, create_pr: bool = False
) -> dict[str, Any]:
    """One atomic commit, to a branch or pull request, or as a new pull request."""
    repo = await run_in_threadpool(_contributed, caller, owner, name, create_pr)
    longest = caller.limits.inline_file * 4 // 3 + 65_536
    body = await lines(request.stream(), longest=longest, most=caller.limits.commit_body)
    return await run_in_threadpool(_Committing(caller, repo, revision, create_pr).run, body)


@dataclass(frozen=True)
class _Committing:
    """A commit request whose body is being read: who sends it, to which repo and revision, as a proposal
    or not."""

    caller: Caller
    repo: Repo
    revision: str
    create_pr: bool

    def run(self, body: list[bytes]) -> dict[str, Any]:
        """Do it; gives the answer."""
        order = read_order(body, self.caller.store.blobs, partial(self.caller.in_hand, likely=self.repo))
        url = f"{self.caller.endpoint}/{self.repo.id}"
        if self.create_pr:
            number, id = self._open_pull(order)
            return _made(url, id) | {"pullRequestUrl": f"{url}/discussions/{number}"}
        author = self.caller.store.author(self.caller.known().name)
        id = self.repo.advance(self.revision, order.changes, author, order.title, order.message, order.parent)
        return _made(url, id)

    def _open_pull(self, order: Order) -> tuple[int, str]:
        repo, author = self.repo, self.caller.store.author(self.caller.known().name)

        def start(number: int) -> dict[str, Any]:
            base = repo.resolve(self.revision)
            id = repo.open_pull(number, self.revision, order.changes, author, order.title, order.message, order.parent)
            return pull_fields(self.revision, base, id)

        thread = self.caller.store.discussions(repo).open(order.title, order.message, author, start)
        return thread["num"], thread["pull"]["first"]


def _made(url: str, id: str) -> dict[str, Any]:
    return {"success": True, "commitOid": id, "commitUrl": f"{url}/commit/{id}", "hookOutput": ""}


def _contributed(caller: Caller, owner: str, name: str, create_pr: bool) -> Repo:
    """The repo, of which the caller may write, or only propose with a pull request."""
    if not create_pr:
        return caller.writable(owner, name)
    caller.contributing()
    return caller.opened(owner, name)


@router.post("/models/{owner}/{name}/branch/{branch:revision}")
def create_branch(caller: Asking, owner: str, name: str, branch: str, request: NewBranch) -> dict[str, str]:
    """A new branch; a 409 if there is one of that name."""
    caller.writable(owner, name).create_branch(branch, request.startingPoint)
    return {"message": "ok"}


@router.delete("/models/{owner}/{name}/branch/{branch:revision}")
def delete_branch(caller: Asking, owner: str, name: str, branch: str) -> dict[str, str]:
    """Take a branch away; its commits stay."""
    caller.writable(owner, name).delete_branch(branch)
    return {"message": "ok"}


@router.post("/models/{owner}/{name}/tag/{revision:revision}")
def create_tag(caller: Asking, owner: str, name: str, revision: str, request: NewTag) -> dict[str, str]:
    """A new tag at a revision; a 409 if there is one of that name."""
    caller.writable(owner, name).create_tag(request.tag, revision)
    return {"message": "ok"}


@router.delete("/models/{owner}/{name}/tag/{tag:revision}")
def delete_tag(caller: Asking, owner: str, name: str, tag: str) -> dict[str, str]:
    """Take a tag away."""
    caller.writable(owner, name).delete_tag(tag)
    return {"message": "ok"}


@router.get("/models/{owner}/{name}/auth-check")
def auth_check(caller: Asking, owner: str, name: str) -> JSONResponse:
    """Whether the caller may read the files."""
    caller.opened(owner, name)
    return JSONResponse({"message": "ok"})


@router.get("/models/{owner}/{name}/auth-check/write")
def auth_check_write(caller: Asking, owner: str, name: str) -> JSONResponse:
    """Whether the caller may change the repo."""
    caller.writable(owner, name)
    return JSONResponse({"message": "ok"})


@router.get("/models/{name}")
@router.get("/models/{name}/revision/{revision:revision}")
def without_owner(caller: Asking) -> None:
    """An id without a namespace: the local Hub has none."""
    raise repo_not_found(known_caller=caller.identity is not None)
