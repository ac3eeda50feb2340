"""Who has sent which large files: knowing a file's SHA-256 is no proof of having its bytes."""

from __future__ import annotations

from pathlib import Path

from localhub.disk import sync_folder


class Senders:
    """The folder of records: an empty file for each user and each SHA-256 that they have uploaded in full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, user: str, sha256: str) -> None:
        """Remember, through a crash too, that the user has sent these bytes."""
        path = self._path(user, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        sync_folder(path.parent)

    def has_sent(self, user: str, sha256: str) -> bool:
        """Whether the user has sent these bytes."""
        return self._path(user, sha256).exists()

    def _path(self, user: str, sha256: str) -> Path:
        return self._folder / user / sha256[:2] / sha256[2:]
