"""Rules for repo ids, file paths, hashes and reference names: whatever becomes a path on disk is checked here."""

from __future__ import annotations

import re

from localhub.errors import HubError, bad_request

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,199}")
_PULL = re.compile(r"refs/pr/([1-9][0-9]{0,8})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT_ID = re.compile(r"[0-9a-f]{40}")
# First segments of the server's own URLs, which no owner may have.
RESERVED_OWNERS = frozenset(
    {"api", "collections", "datasets", "spaces", "models", "uploads", "-", "docs", "settings", "static", "oauth"}
)


def is_name(name: str) -> bool:
    """Whether `name` may be an owner or the second half of a repo id."""
    return bool(_NAME.fullmatch(name)) and "--" not in name and ".." not in name and not name.endswith(".git")


def check_owner(owner: str) -> str:
    """The owner itself; a 400 for a name that is malformed or reserved for the server's own routes."""
    if not is_name(owner) or owner.lower() in RESERVED_OWNERS:
        raise bad_request(f"Invalid namespace {owner!r}: use letters, digits, '-', '_' and '.'")
    return owner


def check_repo_id(repo: str) -> str:
    """The id itself, `owner/name`; a 400 for anything else."""
    owner, slash, name = repo.partition("/")
    if not slash or not is_name(owner) or not is_name(name) or owner.lower() in RESERVED_OWNERS:
        raise bad_request(f"Invalid repo id {repo!r}: it must be owner/name, of letters, digits, '-', '_' and '.'")
    return repo


def check_path(path: str) -> str:
    """The path of a file in a repo; a 400 for one that is absolute, empty, unprintable or leaves the repo."""
    parts = path.split("/")
    clean = all(part not in ("", ".", "..", ".git") for part in parts)
    printable = "\\" not in path and all(character.isprintable() for character in path)
    if not clean or not printable or len(path.encode()) > 1024:
        raise bad_request(f"Invalid file name {path[:200]!r}: it must be a relative path without '..'")
    return path


def check_sha256(text: str) -> str:
    """The hash itself; a 400 for anything but 64 hex digits in lower case."""
    if not _SHA256.fullmatch(text):
        raise bad_request(f"Invalid SHA-256 {text[:80]!r}")
    return text


def check_ref(name: str) -> str:
    """The name of a branch or tag; a 400 for one that Git would refuse or that looks like a commit id."""
    bad = ".." in name or "//" in name or name.endswith(("/", ".lock", ".")) or name.startswith("refs/")
    if bad or not _REF.fullmatch(name) or COMMIT_ID.fullmatch(name):
        raise HubError(400, f"Invalid reference name {name[:200]!r}", code="InvalidRef")
    return name


def parse_pull_number(revision: str) -> str | None:
    """The number in `refs/pr/NUMBER`, as text; None for any other revision."""
    match = _PULL.fullmatch(revision)
    return match[1] if match else None
