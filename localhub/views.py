"""Repos as the API shows them: plain functions from what is kept to JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from localhub.commits import Commit, Entry, Tree, below, folders
from localhub.errors import bad_request
from localhub.facts import Facts
from localhub.repo import Refs, Repo, Settings

LISTED = (
    "modelId",
    "likes",
    "trendingScore",
    "private",
    "downloads",
    "tags",
    "pipeline_tag",
    "library_name",
    "createdAt",
)
LISTED_FULL = (*LISTED, "author", "gated", "sha", "lastModified", "siblings")
INFO = (
    *LISTED_FULL, "disabled", "model-index", "config", "cardData", "transformersInfo", "safetensors",
    "spaces", "usedStorage", "widgetData", "inference",
)  # fmt: skip
EXPANDABLE = frozenset(
    {
        "author", "cardData", "config", "createdAt", "disabled", "downloads", "downloadsAllTime",
        "evalResults", "gated", "gguf", "inference", "inferenceProviderMapping", "lastModified",
        "library_name", "likes", "mask_token", "model-index", "pipeline_tag", "private", "resourceGroup",
        "safetensors", "sha", "siblings", "spaces", "tags", "transformersInfo", "trendingScore", "widgetData",
    }
)  # fmt: skip
EXPANDABLE_ONE = EXPANDABLE | {"baseModels", "childrenModelCount", "usedStorage"}


@dataclass(frozen=True)
class Model:
    """A repo at one commit, with all that the API may say of it."""

    repo: Repo
    settings: Settings
    sha: str
    commit: Commit
    tree: Tree
    facts: Facts

    @property
    def last_modified(self) -> str:
        """When the commit was made: ISO 8601, UTC."""
        return self.commit.date


def check_expand(names: Iterable[str], allowed: frozenset[str]) -> tuple[str, ...]:
    """The names, of which each may be asked for; raises a 400 that names the first that may not."""
    names = tuple(names)
    for name in names:
        if name not in allowed:
            raise bad_request(f'"expand" must be one of {", ".join(sorted(allowed))}, not {name!r}')
    return names


def model(value: Model, names: Iterable[str], *, blobs: bool = False) -> dict[str, Any]:
    """The fields `names` of a model, and its id. Fields that it has nothing for are left out."""
    shown: dict[str, Any] = {"_id": object_id(value.repo.id), "id": value.repo.id}
    for name in names:
        field = siblings(value.tree, blobs=blobs) if name == "siblings" else _field(value, name)
        if field is not None:
            shown[name] = field
    return shown


def _field(value: Model, name: str) -> Any:
    settings, facts = value.settings, value.facts
    plain: dict[str, Any] = {
        "modelId": value.repo.id,
        "author": value.repo.owner,
        "sha": value.sha,
        "lastModified": value.last_modified,
        "createdAt": settings.created_at,
        "private": settings.private,
        "gated": settings.gated,
        "disabled": False,
        "downloads": settings.downloads,
        "downloadsAllTime": settings.downloads,
        "likes": settings.likes,
        "trendingScore": settings.likes,
        "tags": list(facts.tags),
        "pipeline_tag": facts.pipeline,
        "library_name": facts.library,
        "cardData": dict(facts.card) or None,
        "config": dict(facts.config) or None,
        "model-index": facts.card.get("model-index"),
        "spaces": [],
        "evalResults": [],
    }
    if name in plain:
        return plain[name]
    return _MADE[name](value) if name in _MADE else None


def _safetensors(value: Model) -> dict[str, Any] | None:
    if value.facts.parameters is None:
        return None
    return {"parameters": dict(value.facts.parameters), "total": value.facts.total}


def _transformers_info(value: Model) -> dict[str, str] | None:
    if value.facts.library != "transformers" or not value.facts.config.get("architectures"):
        return None
    auto = "AutoModelForCausalLM" if value.facts.pipeline == "text-generation" else "AutoModel"
    return {"auto_model": auto, "pipeline_tag": value.facts.pipeline or "", "processor": "AutoTokenizer"}


def _base_models(value: Model) -> dict[str, Any] | None:
    if not value.facts.bases:
        return None
    models = [{"_id": object_id(base), "id": base} for base in value.facts.bases]
    return {"relation": value.facts.relation, "models": models}


def _used_storage(value: Model) -> int:
    return sum({entry.sha256: entry.size for entry in value.tree.values()}.values())


_MADE = {
    "safetensors": _safetensors,
    "transformersInfo": _transformers_info,
    "baseModels": _base_models,
    "usedStorage": _used_storage,
}


def siblings(tree: Tree, *, blobs: bool) -> list[dict[str, Any]]:
    """The files of a model; with `blobs` their sizes, Git ids and LFS hashes too."""
    if not blobs:
        return [{"rfilename": path} for path in tree]
    return [{"rfilename": path, "size": entry.size, "blobId": entry.oid, **_lfs(entry)} for path, entry in tree.items()]


def _lfs(entry: Entry) -> dict[str, Any]:
    if not entry.lfs:
        return {}
    return {"lfs": {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}}


def security(settings: Settings) -> dict[str, Any]:
    """The scanner's word on a repo."""
    return {"scansDone": settings.scans_done, "filesWithIssues": [dict(issue) for issue in settings.issues]}


def file(path: str, entry: Entry) -> dict[str, Any]:
    """A file in a tree listing."""
    shown: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        shown["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return shown


def folder(path: str, tree: Tree) -> dict[str, Any]:
    """A folder in a tree listing."""
    digest = hashlib.sha1(repr(sorted((name, entry.oid) for name, entry in below(tree, path).items())).encode())
    return {"type": "directory", "oid": digest.hexdigest(), "size": 0, "path": path}


def listing(tree: Tree, inside: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Folders, then files, of the folder `inside` ("" for the root), or of all below it."""
    part = below(tree, inside)
    depth = inside.count("/") + 1 if inside else 0

    def shown(path: str) -> bool:
        return recursive or path.count("/") == depth

    inner = [path for path in folders(part) if path.startswith(f"{inside}/" if inside else "") and shown(path)]
    return [folder(path, tree) for path in inner] + [file(path, entry) for path, entry in part.items() if shown(path)]


def references(refs: Refs, *, pulls: bool) -> dict[str, Any]:
    """Branches, tags and (if asked for) pull requests."""

    def rows(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"{prefix}{name}", "targetCommit": id} for name, id in names.items()]

    shown: dict[str, Any] = {
        "branches": rows(refs.branches, "refs/heads/"),
        "tags": rows(refs.tags, "refs/tags/"),
        "converts": [],
    }
    if pulls:
        shown["pullRequests"] = [
            {"name": f"refs/pr/{number}", "ref": f"refs/pr/{number}", "targetCommit": id}
            for number, id in refs.pulls.items()
        ]
    return shown


def commit(id: str, value: Commit) -> dict[str, Any]:
    """A commit in a history."""
    return {
        "id": id,
        "title": value.title,
        "message": value.message,
        "authors": [{"user": value.author}],
        "date": value.date,
    }


def object_id(text: str) -> str:
    """24 hex digits that stand for a text, where the Hub shows a database key."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]
