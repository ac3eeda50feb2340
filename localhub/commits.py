"""Commits and their trees as values: what stands at a path, and what a set of changes makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from localhub.disk import canonical
from localhub.errors import bad_request, entry_not_found

# What Git is told to keep apart in a fresh repo of the Hub, by ending.
LFS_ENDINGS = [
    ".7z",
    ".arrow",
    ".bin",
    ".bz2",
    ".ckpt",
    ".ftz",
    ".gguf",
    ".gz",
    ".h5",
    ".joblib",
    ".mlmodel",
    ".model",
    ".msgpack",
    ".npy",
    ".npz",
    ".onnx",
    ".ot",
    ".parquet",
    ".pb",
    ".pickle",
    ".pkl",
    ".pt",
    ".pth",
    ".rar",
    ".safetensors",
    ".tar",
    ".tflite",
    ".tgz",
    ".wasm",
    ".xz",
    ".zip",
    ".zst",
]
LARGEST_REGULAR_BYTES = 10 * 1024 * 1024
GITATTRIBUTES = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LFS_ENDINGS)


@dataclass(frozen=True)
class Entry:
    """A file of a tree. `oid` is the id Git gives it (for an LFS file, that of its pointer), `size` its
    bytes."""

    oid: str
    sha256: str
    size: int
    lfs: bool

    @property
    def etag(self) -> str:
        """What tells two contents apart for a client: the SHA-256 of an LFS file, the Git id of any other."""
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer_size(self) -> int:
        """The bytes of the pointer that Git would keep in an LFS file's place."""
        return len(_pointer(self.sha256, self.size))


Tree = Mapping[str, Entry]  # by the file's path; folders exist through their files


@dataclass(frozen=True)
class Commit:
    """One commit. `date` is in ISO 8601, UTC; `id` is a SHA-1 over all the rest, as in Git."""

    tree: str
    parents: tuple[str, ...]
    title: str
    message: str
    author: str
    date: str

    @property
    def id(self) -> str:
        """40 hex digits."""
        return hashlib.sha1(b"commit\0" + canonical(asdict(self))).hexdigest()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Commit:
        """The commit as it was kept."""
        return cls(**{**value, "parents": tuple(value["parents"])})


@dataclass(frozen=True)
class Changes:
    """What a commit does: files that it sets, files that it deletes, folders that it deletes."""

    files: Mapping[str, Entry]
    deleted_files: Sequence[str] = ()
    deleted_folders: Sequence[str] = ()


def git_oid(content: bytes) -> str:
    """The id that Git gives a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def regular_entry(content: bytes) -> Entry:
    """The entry of a file that Git would keep itself."""
    return Entry(git_oid(content), hashlib.sha256(content).hexdigest(), len(content), lfs=False)


def lfs_entry(sha256: str, size: int) -> Entry:
    """The entry of a file that Git would keep as a pointer."""
    return Entry(git_oid(_pointer(sha256, size)), sha256, size, lfs=True)


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def belongs_in_lfs(path: str, size: int, sample: bytes) -> bool:
    """Whether a file is kept apart from Git: by its ending, its size, or because it is no text."""
    return path.lower().endswith(tuple(LFS_ENDINGS)) or size > LARGEST_REGULAR_BYTES or b"\0" in sample


def tree_to_json(tree: Tree) -> dict[str, Any]:
    """The tree as it is kept."""
    return {path: asdict(entry) for path, entry in tree.items()}


def tree_from_json(value: Mapping[str, Any]) -> dict[str, Entry]:
    """The reverse of `tree_to_json`."""
    return {path: Entry(**entry) for path, entry in value.items()}


def tree_id(tree: Tree) -> str:
    """A SHA-1 over the paths and contents of a tree."""
    return hashlib.sha1(b"tree\0" + canonical(tree_to_json(tree))).hexdigest()


def apply(changes: Changes, tree: Tree, commit: str) -> dict[str, Entry]:
    """The tree after the changes; `commit` is the id of the one before. Raises for a path that is not
    there to be deleted, and for a file that would stand where a folder is."""
    after = dict(tree)
    for path in changes.deleted_files:
        if after.pop(path, None) is None:
            error = entry_not_found(path, commit)
            error.message = f"A file with this name doesn't exist: {path}"
            raise error
    for folder in changes.deleted_folders:
        inside = [path for path in after if path.startswith(folder.rstrip("/") + "/")]
        if not inside:
            raise entry_not_found(folder, commit)
        for path in inside:
            del after[path]
    after.update(changes.files)
    all_folders = set(folders(after))
    for path in changes.files:
        if path in all_folders or any(parent in after for parent in _parents(path)):
            raise bad_request(f"{path!r} would be a file and a folder at once")
    return dict(sorted(after.items()))


def between(before: Tree, after: Tree) -> Changes:
    """The changes that lead from one tree to the other."""
    return Changes(
        files={path: entry for path, entry in after.items() if before.get(path) != entry},
        deleted_files=tuple(path for path in before if path not in after),
    )


def touched(changes: Changes) -> set[str]:
    """All paths that the changes of a `between` concern."""
    return {*changes.files, *changes.deleted_files}


def folders(tree: Tree) -> list[str]:
    """All folders of a tree, sorted."""
    return sorted({parent for path in tree for parent in _parents(path)})


def below(tree: Tree, folder: str) -> dict[str, Entry]:
    """The part of a tree inside a folder ("" for all of it), under the full paths."""
    prefix = f"{folder}/" if folder else ""
    return {path: entry for path, entry in tree.items() if path.startswith(prefix)}


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
