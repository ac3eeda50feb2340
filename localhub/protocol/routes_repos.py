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
from localhub.protocol.json_views import JsonObject, make_object_id
from localhub.shelves.shelf import Shelf
from localhub.shelves.space_settings import FREE_HARDWARE, SpaceSettings, change_space_settings
from localhub.store.commits import belongs_in_lfs
from localhub.store.discussions import Pull
from localhub.store.repo import MAIN, Draft, Repo
from localhub.webhooks.events import CONFIG, REPO, describe_event, tell, tell_commit, tell_refs, tell_thread

router = APIRouter(prefix="/api")
OK = {"message": "ok"}


class KeyValue(BaseModel):
    """A variable or a secret."""

    key: str
    value: str


class RepoName(BaseModel):
    """A repo as the client names it: without `organization` it is the caller's own."""

    name: str
    organization: str | None = None
    type: Literal["model", "dataset", "space"] = "model"

    def id(self, caller: Caller) -> str:
        """The repo's id, owner/name."""
        return check_repo_id(f"{self.organization or caller.require_identity().name}/{self.name}")


class NewRepo(RepoName):
    """A repo to be made; the last four are a Space's."""

    private: bool = False
    visibility: Literal["public", "private"] | None = None
    sdk: Literal["docker", "gradio", "static"] | None = None
    hardware: str = FREE_HARDWARE
    secrets: list[KeyValue] = []
    variables: list[KeyValue] = []

    def create(self, caller: Caller, id: str) -> None:
        """Make the repo; a 409 if there is one of its name."""
        private, author = self.private or self.visibility == "private", caller.require_identity().name
        if self.type == "model":
            caller.store.create_repo(id, private=private, author=author)
        elif self.type == "dataset":
            Shelf(caller.store, "datasets").create(id, private=private, author=author)
        else:
            settings = self.space_settings()
            space = Shelf(caller.store, "spaces").create(id, private=private, author=author)
            change_space_settings(space, lambda _: settings)

    def space_settings(self) -> SpaceSettings:
        """The settings that a new Space begins with; a 400 without an SDK."""
        if self.sdk is None:
            raise bad_request('"sdk" is missing: a Space needs one')
        settings = SpaceSettings(self.sdk, self.hardware, variables={one.key: one.value for one in self.variables})
        for secret in self.secrets:
            settings = settings.with_secret(secret.key, secret.value)
        return settings


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
    """Make a repo; a 409 that carries the URL, which the client needs for `exist_ok`, if it exists."""
    id = request.id(caller)
    owner = id.partition("/")[0]
    caller.check_writes(owner, f"create a {request.type} under the namespace {owner}")
    url = f"{caller.endpoint}/{'' if request.type == 'model' else f'{request.type}s/'}{id}"
    try:
        request.create(caller, id)
    except HubError as error:
        if error.status == 409:
            error.body["url"] = url
        raise
    if request.type == "model":
        tell(caller, caller.store.repo(id), "create", REPO)
    return {"url": url, "name": id}


@router.delete("/repos/delete")
def delete_repo(caller: CurrentCaller, request: RepoName) -> dict[str, str]:
    """Delete a repo."""
    owner, _, name = request.id(caller).partition("/")
    if request.type == "model":
        repo = caller.writable_repo(owner, name)
        deleted = describe_event(caller, repo, "delete", REPO)
        caller.store.delete_repo(repo.id)
        caller.deliveries.send(deleted)
        return OK
    shelf = Shelf(caller.store, "datasets" if request.type == "dataset" else "spaces")
    caller.check_writes(owner, f"delete {owner}/{name}", repo=f"{owner}/{name}")
    if (found := shelf.find(f"{owner}/{name}")) is None:
        raise repo_not_found(known_caller=True)
    shelf.delete(found)
    return OK


@router.post("/repos/move")
def move_repo(caller: CurrentCaller, fromRepo: BodyText, toRepo: BodyText) -> dict[str, str]:  # noqa: N803  as sent
    """Rename a repo, or hand it to another owner."""
    owner, _, name = check_repo_id(fromRepo).partition("/")
    target = check_repo_id(toRepo)
    repo = caller.writable_repo(owner, name)
    caller.check_writes(target.partition("/")[0], f"move a model to {target}")
    moved_to: JsonObject = {"name": target, "owner": {"id": make_object_id(target.partition("/")[0])}}
    moved = describe_event(caller, repo, "move", REPO, movedTo=moved_to)
    caller.store.move_repo(repo.id, target)
    caller.deliveries.send(moved)
    return OK


@router.put("/models/{owner}/{name}/settings")
def update_settings(caller: CurrentCaller, repo: WritableRepo, request: SettingsChange) -> JsonObject:
    """Set privacy and gating; returns what was set."""
    changes = apply_settings(repo, request)
    told: JsonObject = {key: value for key, value in changes.items() if key == "private"}
    tell(caller, repo, "update", CONFIG, updatedConfig=told)
    return changes


def apply_settings(repo: Repo, request: SettingsChange) -> JsonObject:
    """Set privacy and gating of a repo of any kind; returns what was set."""
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
    body = await read_commit_body(caller, request)
    return await run_in_threadpool(_open_pull if create_pr else make_commit, caller, repo, revision, body)


async def read_commit_body(caller: Caller, request: Request) -> list[bytes]:
    """The lines of a commit request, within the limits."""
    line_bytes = caller.limits.inline_file * 4 // 3 + 65_536  # base64, and the rest of the line
    return await read_lines(request.stream(), line_bytes=line_bytes, body_bytes=caller.limits.commit_body)


def make_commit(caller: Caller, repo: Repo, revision: str, body: list[bytes], place: str = "") -> JsonObject:
    """Commit to a branch or pull request; `place` stands before the repo's id in its address."""
    draft = _read_draft(caller, repo, body)
    made = repo.advance(revision, draft)
    if not place:  # webhooks are told of models alone
        tell_commit(caller, repo, revision, made)
    return _describe_made(f"{caller.endpoint}/{place}{repo.id}", made)


def _read_draft(caller: Caller, repo: Repo, body: list[bytes]) -> Draft:
    author = caller.store.author(caller.require_identity().name)
    find_uploaded = partial(caller.find_uploaded, likely=repo)
    return read_draft(body, author, caller.store.blobs, find_uploaded, caller.receive_from_xet)


def _open_pull(caller: Caller, repo: Repo, revision: str, body: list[bytes]) -> JsonObject:
    draft, url = _read_draft(caller, repo, body), f"{caller.endpoint}/{repo.id}"

    def start_pull(number: int) -> Pull:
        return Pull(revision, repo.resolve(draft.parent or revision), repo.open_pull(number, revision, draft))

    thread = caller.store.discussions(repo).open(draft.title, draft.message, draft.author, start_pull)
    assert thread.pull is not None
    tell_thread(caller, repo, "create", thread)
    return _describe_made(url, thread.pull.first) | {"pullRequestUrl": f"{url}/discussions/{thread.num}"}


def _describe_made(url: str, id: str) -> JsonObject:
    return {"success": True, "commitOid": id, "commitUrl": f"{url}/commit/{id}", "hookOutput": ""}


@router.post("/models/{owner}/{name}/branch/{branch:revision}")
def create_branch(
    caller: CurrentCaller,
    repo: WritableRepo,
    branch: str,
    startingPoint: BodyText = MAIN,  # noqa: N803  as sent
) -> dict[str, str]:
    """Make a branch; a 409 if there is one of that name."""
    repo.create_branch(branch, startingPoint)
    tell_refs(caller, repo, [(f"refs/heads/{branch}", None, repo.resolve(branch))])
    return OK


@router.delete("/models/{owner}/{name}/branch/{branch:revision}")
def delete_branch(caller: CurrentCaller, repo: WritableRepo, branch: str) -> dict[str, str]:
    """Delete a branch; its commits stay."""
    old = repo.refs().branches.get(branch)
    repo.delete_branch(branch)
    tell_refs(caller, repo, [(f"refs/heads/{branch}", old, None)])
    return OK


@router.post("/models/{owner}/{name}/tag/{revision:revision}")
def create_tag(caller: CurrentCaller, repo: WritableRepo, revision: str, tag: BodyText) -> dict[str, str]:
    """Make a tag at a revision; a 409 if there is one of that name."""
    repo.create_tag(tag, revision)
    tell_refs(caller, repo, [(f"refs/tags/{tag}", None, repo.resolve(tag))])
    return OK


@router.delete("/models/{owner}/{name}/tag/{tag:revision}")
def delete_tag(caller: CurrentCaller, repo: WritableRepo, tag: str) -> dict[str, str]:
    """Delete a tag."""
    old = repo.refs().tags.get(tag)
    repo.delete_tag(tag)
    tell_refs(caller, repo, [(f"refs/tags/{tag}", old, None)])
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
