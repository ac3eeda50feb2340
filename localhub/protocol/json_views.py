"""What the API shows of models, files, references and commits, as JSON with the real Hub's keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

from pydantic import JsonValue

from localhub.store.commits import Commit, Entry, Tree, list_entries, select_folder
from localhub.store.facts import Model
from localhub.store.repo import Refs

JsonObject = dict[str, JsonValue]


def describe_model(model: Model, names: Iterable[str], *, blobs: bool = False) -> JsonObject:
    """The id of a model and those of the named fields for which it has a value; `blobs` adds hashes to its files."""
    shown: JsonObject = {"_id": make_object_id(model.repo.id), "id": model.repo.id}
    for name in names:
        if name == "siblings":
            shown[name] = list_siblings(model.tree, blobs=blobs)
        elif name in _FIELDS and (value := _FIELDS[name](model)) is not None:
            shown[name] = value
    return shown


def _describe_safetensors(model: Model) -> JsonValue:
    if model.facts.parameters is None:
        return None
    return {"parameters": dict(model.facts.parameters), "total": model.facts.total}


def _describe_transformers(model: Model) -> JsonValue:
    if model.facts.library != "transformers" or not model.facts.config.get("architectures"):
        return None
    auto = "AutoModelForCausalLM" if model.facts.pipeline == "text-generation" else "AutoModel"
    return {"auto_model": auto, "pipeline_tag": model.facts.pipeline or "", "processor": "AutoTokenizer"}


def _describe_bases(model: Model) -> JsonValue:
    if not model.facts.bases:
        return None
    models: list[JsonValue] = [{"_id": make_object_id(base), "id": base} for base in model.facts.bases]
    return {"relation": model.facts.relation, "models": models}


_FIELDS: Mapping[str, Callable[[Model], JsonValue]] = {
    "modelId": lambda model: model.repo.id,
    "author": lambda model: model.repo.owner,
    "sha": lambda model: model.sha,
    "lastModified": lambda model: model.last_modified,
    "createdAt": lambda model: model.settings.created_at,
    "private": lambda model: model.settings.private,
    "gated": lambda model: model.settings.gated,
    "disabled": lambda _: False,
    "downloads": lambda model: model.settings.downloads,
    "downloadsAllTime": lambda model: model.settings.downloads,
    "likes": lambda model: model.settings.likes,
    "trendingScore": lambda model: model.settings.likes,
    "tags": lambda model: list(model.facts.tags),
    "pipeline_tag": lambda model: model.facts.pipeline,
    "library_name": lambda model: model.facts.library,
    "cardData": lambda model: dict(model.facts.card) or None,
    "config": lambda model: dict(model.facts.config) or None,
    "model-index": lambda model: model.facts.card.get("model-index"),
    "spaces": lambda _: [],
    "evalResults": lambda _: [],
    "securityRepoStatus": lambda model: {
        "scansDone": model.settings.scans_done,
        "filesWithIssues": [dict(issue) for issue in model.settings.issues],
    },
    "safetensors": _describe_safetensors,
    "transformersInfo": _describe_transformers,
    "baseModels": _describe_bases,
    "usedStorage": lambda model: sum({entry.sha256: entry.size for entry in model.tree.values()}.values()),
}


def list_siblings(tree: Tree, *, blobs: bool) -> list[JsonValue]:
    """The files of a repo; `blobs` adds sizes and hashes."""
    if not blobs:
        return [{"rfilename": path} for path in tree]
    return [
        {"rfilename": path, "size": entry.size, "blobId": entry.oid, **_describe_lfs(entry, "sha256")}
        for path, entry in tree.items()
    ]


def _describe_lfs(entry: Entry, hash_key: str) -> JsonObject:
    if not entry.lfs:
        return {}
    return {"lfs": {hash_key: entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}}


def describe_entries(tree: Tree, folder: str, *, recursive: bool) -> list[JsonObject]:
    """The folders, then the files, in a folder ("" for the root), directly or at any depth."""
    return [
        _describe_folder(path, tree) if entry is None else _describe_file(path, entry)
        for path, entry in list_entries(tree, folder, recursive=recursive).items()
    ]


def _describe_file(path: str, entry: Entry) -> JsonObject:
    return {"type": "file", "oid": entry.oid, "size": entry.size, "path": path, **_describe_lfs(entry, "oid")}


def _describe_folder(path: str, tree: Tree) -> JsonObject:
    inside = sorted((name, entry.oid) for name, entry in select_folder(tree, path).items())
    return {"type": "directory", "oid": hashlib.sha1(repr(inside).encode()).hexdigest(), "size": 0, "path": path}


def describe_refs(refs: Refs, *, pulls: bool) -> JsonObject:
    """Branches, tags and, if asked for, pull requests."""

    def rows(names: Mapping[str, str], prefix: str) -> list[JsonValue]:
        return [{"name": name, "ref": f"{prefix}{name}", "targetCommit": id} for name, id in names.items()]

    shown: JsonObject = {
        "branches": rows(refs.branches, "refs/heads/"),
        "tags": rows(refs.tags, "refs/tags/"),
        "converts": [],
    }
    if pulls:  # their names are whole references, unlike those of branches and tags
        shown["pullRequests"] = rows({f"refs/pr/{number}": id for number, id in refs.pulls.items()}, "")
    return shown


def describe_commit(id: str, commit: Commit) -> JsonObject:
    """A commit in a history."""
    return {
        "id": id,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": commit.date,
    }


def make_object_id(text: str) -> str:
    """24 hex digits for a name, where the real Hub shows a database key."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]
