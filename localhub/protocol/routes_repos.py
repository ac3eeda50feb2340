"""Routes that change repos: create, delete, rename, settings, commits, branches, tags."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from localhub.errors import HubError, bad_request, repo_not_found
from localhub.names import check_repo_id
from localhub.protocol.access import BodyText, Caller, CurrentCaller, ReadableRepo, WritableRepo
from localhub.protocol.commit_body import read_draft, read_lines
from localhub.protocol.json_views import JsonObject
from localhub.store.commits import belongs_in_lfs
from localhub.store.discussions import Pull
from localhub.store.repo import MAIN, Repo

router = APIRouter(prefix="/api")
OK = {"message": "ok"}


class RepoName(BaseModel):
    """A repo as the client names it: without `organization` it is the caller's own."""

    name: str
    organization: str | None = None
    type: str = "model"

    def id(self, caller: Caller) -> str:
        """The repo's id, owner/name; a 400 for anything but a model."""
        if self.type != "model":
            raise bad_request(f"Invalid type {self.type!r}: the local Hub keeps models only")
        return check_repo_id(f"{self.organization or caller.require_identity().name}/{self.name}")


class NewRepo(RepoName):
    """A repo to be made."""

    private: bool = False
    visibility: Literal["public", "private"] | None = None


class SettingsChange(BaseModel):
    """Settings to be changed; `visibility` is the newer word for `private`."""

    private: bool | None = None
    visibility: Literal["public", "private"] | None = None
    gated: Literal["auto", "manual", False] | None = None


class AnnouncedFile(BaseModel):
    """A file that the client is about to commit; `sample` is its start in base64."""

    path: str
    size: int = Field(ge=0)
    sample: str = ""


@router.post("/repos/create")
def create_repo(caller: CurrentCaller, request: NewRepo) -> dict[str, str]:
    """Make a model repo; a 409 that carries the URL, which the client needs for `exist_ok`, if it exists."""
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
def delete_repo(caller: CurrentCaller, request: RepoName) -> dict[str, str]:
    """Delete a repo."""
    owner, _, name = request.id(caller).partition("/")
    caller.store.delete_repo(caller.writable_repo(owner, name).id)
    return OK


@router.post("/repos/move")
def move_repo(caller: CurrentCaller, fromRepo: BodyText, toRepo: BodyText) -> dict[str, str]:  # noqa: N803  as sent
    """Rename a repo, or hand it to another owner."""
    owner, _, name = check_repo_id(fromRepo).partition("/")
    target = check_repo_id(toRepo)
    repo = caller.writable_repo(owner, name)
    caller.check_writes(target.partition("/")[0], f"move a model to {target}")
    caller.store.move_repo(repo.id, target)
    return OK


@router.put("/models/{owner}/{name}/settings")
def update_settings(repo: WritableRepo, request: SettingsChange) -> JsonObject:
    """Set privacy and gating; returns what was set."""
    changes = request.model_dump(exclude_none=True, include={"private", "gated"})
    if request.visibility is not None:
        changes["private"] = request.visibility == "private"
    repo.change_settings(lambda old: replace(old, **changes))
    return changes


def _find_committable_repo(caller: CurrentCaller, owner: str, name: str, create_pr: bool = False) -> Repo:
    """The repo, if the caller may write to it or, with `create_pr`, read it: anybody may propose a change."""
    if not create_pr:
        return caller.writable_repo(owner, name)
    caller.author("propose changes")
    return caller.readable_repo(owner, name)


CommittableRepo = Annotated[Repo, Depends(_find_committable_repo)]


@router.post("/models/{owner}/{name}/preupload/{revision:revision}")
def plan_uploads(
    repo: CommittableRepo, revision: str, files: Annotated[list[AnnouncedFile], Body(embed=True, max_length=1000)]
) -> JsonObject:
    """How to upload each file, and the hash of the file that has its path now."""
    commit = repo.resolve(revision)
    tree = repo.tree(commit)

    def describe(file: AnnouncedFile) -> JsonObject:
        large = belongs_in_lfs(file.path, file.size, base64.b64decode(file.sample))
        present = tree.get(file.path)
        return {
            "path": file.path,
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
            "oid": present.etag if present else None,
        }

    return {"files": [describe(file) for file in files], "commitOid": commit}


@router.post("/models/{owner}/{name}/commit/{revision:revision}")
async def create_commit(
    caller: CurrentCaller, repo: CommittableRepo, revision: str, request: Request, create_pr: bool = False
) -> JsonObject:
    """One atomic commit, to a branch or pull request, or as a new pull request."""
    line_bytes = caller.limits.inline_file * 4 // 3 + 65_536  # base64, and the rest of the line
    body = await read_lines(request.stream(), line_bytes=line_bytes, body_bytes=caller.limits.commit_body)
    return await run_in_threadpool(_make_commit, caller, repo, revision, body, create_pr)


def _make_commit(caller: Caller, repo: Repo, revision: str, body: list[bytes], create_pr: bool) -> JsonObject:
    author = caller.store.author(caller.require_identity().name)
    find_uploaded = partial(caller.find_uploaded, likely=repo)
    draft = read_draft(body, author, caller.store.blobs, find_uploaded, caller.receive_from_xet)
    url = f"{caller.endpoint}/{repo.id}"
    if not create_pr:
        return _describe_made(url, repo.advance(revision, draft))

    def start_pull(number: int) -> Pull:
        return Pull(revision, repo.resolve(revision), repo.open_pull(number, revision, draft))

    thread = caller.store.discussions(repo).open(draft.title, draft.message, author, start_pull)
    assert thread.pull is not None
    return _describe_made(url, thread.pull.first) | {"pullRequestUrl": f"{url}/discussions/{thread.num}"}


def _describe_made(url: str, id: str) -> JsonObject:
    return {"success": True, "commitOid": id, "commitUrl": f"{url}/commit/{id}", "hookOutput": ""}


@router.post("/models/{owner}/{name}/branch/{branch:revision}")
def create_branch(repo: WritableRepo, branch: str, startingPoint: BodyText = MAIN) -> dict[str, str]:  # noqa: N803
    """Make a branch; a 409 if there is one of that name."""
    repo.create_branch(branch, startingPoint)
    return OK


@router.delete("/models/{owner}/{name}/branch/{branch:revision}")
def delete_branch(repo: WritableRepo, branch: str) -> dict[str, str]:
    """Delete a branch; its commits stay."""
    repo.delete_branch(branch)
    return OK


@router.post("/models/{owner}/{name}/tag/{revision:revision}")
def create_tag(repo: WritableRepo, revision: str, tag: BodyText) -> dict[str, str]:
    """Make a tag at a revision; a 409 if there is one of that name."""
    repo.create_tag(tag, revision)
    return OK


@router.delete("/models/{owner}/{name}/tag/{tag:revision}")
def delete_tag(repo: WritableRepo, tag: str) -> dict[str, str]:
    """Delete a tag."""
    repo.delete_tag(tag)
    return OK


@router.get("/models/{owner}/{name}/auth-check")
def check_readable(_: ReadableRepo) -> dict[str, str]:
    """Whether the caller may read the files."""
    return OK


@router.get("/models/{owner}/{name}/auth-check/write")
def check_writable(_: WritableRepo) -> dict[str, str]:
    """Whether the caller may change the repo."""
    return OK


@router.get("/models/{name}")
@router.get("/models/{name}/revision/{revision:revision}")
def refuse_bare_name(caller: CurrentCaller) -> None:
    """An id without a namespace, such as "gpt2": the local Hub has none."""
    raise repo_not_found(known_caller=caller.identity is not None)
