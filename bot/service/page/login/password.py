"""The page's password on this machine: scrambled, in a file that only its owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bot.errors import ShoalError
from bot.service.page.login.sessions import hash_password, is_password

SHORTEST_PASSWORD = 8


def write_password(path: Path, password: str) -> None:
    """Set the password; ShoalError for one that is too short."""
    if len(password) < SHORTEST_PASSWORD:
        raise ShoalError(f"the password: got {len(password)} characters: write at least {SHORTEST_PASSWORD}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(hash_password(password) + "\n")
    temporary.replace(path)


def read_password(path: Path) -> str | None:
    """The password, scrambled; None if none is set.

    Raises:
        ShoalError: others can read the file, or it holds no password.
    """
    try:
        mode, text = stat.S_IMODE(path.stat().st_mode), path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ShoalError(f"{path}: got mode {mode:04o}: only you may read it: chmod 600 {path}")
    try:
        is_password("", text)
    except ValueError as error:
        raise ShoalError(f"{path}: holds no password of shoal; set one with `shoal page --set-password`") from error
    return text.strip()
