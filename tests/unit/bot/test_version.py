"""shoal's version: of the installed release, or of the checkout that runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import bot.version
from bot.version import shoal_version


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a project of version 1.2.3 in place of the one that runs."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    monkeypatch.setattr(bot.version, "_ROOT", tmp_path)
    shoal_version.cache_clear()
    yield tmp_path
    shoal_version.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@a.example")
    done = subprocess.run(["git", "-C", folder, *author, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_checkout_names_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    git(checkout, "init")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "First")
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    assert shoal_version() == f"1.2.3+g{commit}"
    shoal_version.cache_clear()
    (checkout / "pyproject.toml").write_text('[project]\nversion = "1.2.4"\n')
    assert shoal_version() == f"1.2.4+g{commit}.dirty"


def test_a_checkout_without_commits_has_the_version_alone(checkout: Path) -> None:
    git(checkout, "init")
    assert shoal_version() == "1.2.3"


def test_an_installed_release_has_the_version_of_its_package(checkout: Path) -> None:
    assert not (checkout / ".git").exists()
    assert shoal_version() == version("shoal")
