"""The version of shoal that is running: of the installed release, or of the git checkout."""

from __future__ import annotations

import subprocess
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).parent.parent


@cache
def shoal_version() -> str:
    """ "0.2.0" for an installed release; "0.2.0+g<commit>" in a git checkout, with ".dirty" for uncommitted changes."""
    if not (_ROOT / ".git").exists():
        return version("shoal")
    release = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):  # git is missing, or the repository is somebody else's
        return str(release)
    return f"{release}+g{commit}{'.dirty' if changed else ''}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", _ROOT, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
