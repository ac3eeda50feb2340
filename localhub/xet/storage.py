"""Xet storage in a folder, which hf_xet reads and writes by itself under an address `local://FOLDER`.

The real storage is a server. This one is open to a single process at a time, and to whoever may write the folder: it is
for tests of the transfers, and off otherwise. What a user sends stays in a folder of their own until a commit
names it, because the address alone does not tell who sends.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from localhub.names import check_sha256
from localhub.store.blobs import read_chunks
from localhub.store.store import Store
from localhub.xet.shards import UploadedFile, read_shard

if TYPE_CHECKING:
    from collections.abc import Iterator


class XetStorage:
    """Content in the form of Xet, beside the blobs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root = store.root / "xet"
        self._session: Any = None
        self._offered: dict[str, str] = {}
        self._lock = Lock()

    @property
    def shared(self) -> Path:
        """The folder from which everybody reads."""
        return self._root / "shared"

    def sent_by(self, user: str) -> Path:
        """The folder to which a user sends."""
        return self._root / "users" / user

    def offer(self, sha256: str) -> str:
        """Make kept content available; returns its Xet hash, by which a client asks for it."""
        with self._lock:
            if sha256 not in self._offered:
                self.shared.mkdir(parents=True, exist_ok=True)
                with self._connect().new_upload_commit(endpoint=to_address(self.shared)) as commit:
                    sent = commit.start_upload_file(str(self._store.blobs.path(sha256)), sha256=sha256)
                self._offered[sha256] = str(sent.result().xet_info.hash)
            return self._offered[sha256]

    def receive(self, user: str, sha256: str) -> None:
        """Keep content that the user has sent, if they have; what they have not sent is left as it is."""
        found = next((file for file in self._list_sent(user) if file.sha256 == check_sha256(sha256)), None)
        if found is None or self._store.senders.has_sent(user, sha256):
            return
        target = self._root / f"{user}-{sha256}.part"
        with self._lock, self._connect().new_file_download_group(endpoint=to_address(self.sent_by(user))) as group:
            from hf_xet import XetFileInfo

            group.start_download_file(XetFileInfo(found.xet_hash), str(target))
        with self._store.blobs.receiving() as incoming:
            for chunk in read_chunks(target):
                incoming.write(chunk)
            if incoming.sha256 == sha256:
                self._store.blobs.keep(incoming)
                self._store.senders.record(user, sha256)
        target.unlink()

    def _list_sent(self, user: str) -> Iterator[UploadedFile]:
        for path in sorted((self.sent_by(user) / "xet" / "xorbs" / "shards").glob("*.mdb")):
            yield from read_shard(path.read_bytes())

    def _connect(self) -> Any:
        if self._session is None:
            from hf_xet import XetSession

            self._session = XetSession()
        return self._session


def to_address(folder: Path) -> str:
    """The address of a storage in a folder, for hf_xet."""
    return f"local://{folder}"
