"""Commits and their trees as values, and what a set of changes makes of a tree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from localhub.errors import bad_request, entry_not_found
from localhub.store.disk import encode_json

# The endings that the Hub's .gitattributes gives to LFS in a new repo.
LFS_ENDINGS = (
    ".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".ftz", ".gguf", ".gz", ".h5", ".joblib", ".mlmodel", ".model",
    ".msgpack", ".npy", ".npz", ".onnx", ".ot", ".parquet", ".pb", ".pickle", ".pkl", ".pt", ".pth", ".rar",
    ".safetensors", ".tar", ".tflite", ".tgz", ".wasm", ".xz", ".zip", ".zst",
)  # fmt: skip
LARGEST_REGULAR_BYTES = 10 * 1024 * 1024
GITATTRIBUTES = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LFS_ENDINGS)


@dataclass(frozen=True)
class Entry:
    """A file of a tree: `oid` is its Git id (for an LFS file, that of its pointer), `size` its number of bytes."""

    oid: str
    sha256: str
    size: int
    lfs: bool

    @classmethod
    def regular(cls, content: bytes) -> Entry:
        """A file that Git would keep itself."""
        return cls(hash_as_git(content), hashlib.sha256(content).hexdigest(), len(content), lfs=False)

    @classmethod
    def in_lfs(cls, sha256: str, size: int) -> Entry:
        """A file of which Git would keep a pointer."""
        return cls(hash_as_git(_make_pointer(sha256, size)), sha256, size, lfs=True)

    @property
    def etag(self) -> str:
        """The client's cache key for the content: the SHA-256 of an LFS file, the Git id of any other."""
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer_size(self) -> int:
        """The size in bytes of the pointer that Git would keep for an LFS file."""
        return len(_make_pointer(self.sha256, self.size))


Tree = Mapping[str, Entry]  # by path of file; folders exist through their files


@dataclass(frozen=True)
class Commit:
    """One commit; `tree` is the id of its tree, `date` is in ISO 8601, UTC."""

    tree: str
    parents: tuple[str, ...]
    title: str
    message: str
    author: str
    date: str

    @property
    def id(self) -> str:
        """40 hex digits: as in Git, a SHA-1 over all fields."""
        return hashlib.sha1(b"commit\0" + encode_json(self)).hexdigest()


@dataclass(frozen=True)
class Changes:
    """The content of a commit: files to set, files to delete and folders to delete, by path."""

    files: Mapping[str, Entry]
    deleted_files: Sequence[str] = ()
    deleted_folders: Sequence[str] = ()


def hash_as_git(content: bytes) -> str:
    """The id that Git gives to a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _make_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def belongs_in_lfs(path: str, size: int, sample: bytes) -> bool:
    """Whether a file goes into LFS: by its ending, its size in bytes, or because it is not text."""
    return path.lower().endswith(LFS_ENDINGS) or size > LARGEST_REGULAR_BYTES or b"\0" in sample


def hash_tree(tree: Tree) -> str:
    """The id of a tree: a SHA-1 over its paths and entries."""
    return hashlib.sha1(b"tree\0" + encode_json(tree)).hexdigest()


def apply_changes(changes: Changes, tree: Tree, commit: str) -> dict[str, Entry]:
    """The tree after the changes to `tree`, which belongs to the commit with id `commit`.

    A 404 if a path to delete is absent, a 400 if a path would be a file and a folder at once.
    """
    after = dict(tree)
    for path in changes.deleted_files:
        if after.pop(path, None) is None:
            raise entry_not_found(path, commit, f"A file with this name doesn't exist: {path}")
    for folder in changes.deleted_folders:
        inside = select_folder(after, folder.rstrip("/"))
        if not inside:
            raise entry_not_found(folder, commit)
        for path in inside:
            del after[path]
    after.update(changes.files)
    folders = set(list_folders(after))
    for path in changes.files:
        if path in folders or any(parent in after for parent in list_parents(path)):
            raise bad_request(f"{path!r} would be a file and a folder at once")
    return dict(sorted(after.items()))


def diff_trees(before: Tree, after: Tree) -> dict[str, Entry | None]:
    """The entry after, or None if there is none any more, at each path where two trees differ."""
    paths = [*after, *(path for path in before if path not in after)]
    return {path: after.get(path) for path in paths if before.get(path) != after.get(path)}


def list_folders(tree: Tree) -> list[str]:
    """The paths of all folders of a tree, sorted."""
    return sorted({parent for path in tree for parent in list_parents(path)})


def select_folder(tree: Tree, folder: str) -> dict[str, Entry]:
    """The part of a tree inside a folder ("" for the root), under the full paths."""
    prefix = f"{folder}/" if folder else ""
    return {path: entry for path, entry in tree.items() if path.startswith(prefix)}


def list_entries(tree: Tree, folder: str, *, recursive: bool) -> dict[str, Entry | None]:
    """What is inside a folder ("" for the root), by path: first the folders (None), then the files.

    recursive: at any depth, instead of directly.
    """
    inside = select_folder(tree, folder)
    depth = folder.count("/") + 1 if folder else 0
    folders = [path for path in list_folders(inside) if path.count("/") >= depth]
    every: dict[str, Entry | None] = {**dict.fromkeys(folders), **inside}
    return {path: entry for path, entry in every.items() if recursive or path.count("/") == depth}


def list_parents(path: str) -> Iterator[str]:
    """The paths of the folders that a path is in, the innermost first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
