"""How shoal gets into an image: as a wheel, or from an address that pip understands; and in which versions."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from bot.errors import ShoalError

CHECKOUT = Path(__file__).parent.parent.parent
"""The folder of shoal's own sources, where it runs from a checkout."""


@dataclass(frozen=True)
class ShoalPackage:
    """What an image installs. requirement: as pip takes it there. wheel: its name and content, if one is copied in."""

    requirement: str
    wheel: tuple[str, bytes] | None = None

    @property
    def needs_git(self) -> bool:
        """Whether it is fetched with git."""
        return self.requirement.startswith("git+") or " @ git+" in self.requirement


def find_package(given: str | None) -> ShoalPackage:
    """The package that `--package` names; without it, a wheel that is built from this checkout.

    Raises:
        ShoalError: there is no such wheel, or this shoal runs from no checkout, or no wheel can be built.
    """
    if given is None:
        return _copied(_build_wheel())
    if given.endswith(".whl") and "://" not in given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise ShoalError(f"--package: got {given!r}: there is no such wheel; correct the path")
        return _copied((path.name, path.read_bytes()))
    if "://" not in given or any(character in given for character in "\"'\\$`\n"):
        raise ShoalError(f"--package: got {given!r}: write a wheel's path, or an address such as git+https://HOST/REPO")
    return ShoalPackage(given if " @ " in given else f"shoal @ {given}")


def _copied(wheel: tuple[str, bytes]) -> ShoalPackage:
    return ShoalPackage(f"/tmp/shoal/{wheel[0]}", wheel)


def _build_wheel() -> tuple[str, bytes]:
    if not (CHECKOUT / "pyproject.toml").exists():
        raise ShoalError(
            "--package: got none, and this shoal runs from no checkout that a wheel could be built from; "
            "name a wheel, or an address such as git+https://HOST/REPO"
        )
    with tempfile.TemporaryDirectory(prefix="shoal-wheel-") as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(CHECKOUT)]
        if importlib.util.find_spec("hatchling"):  # else pip fetches it
            command.insert(4, "--no-build-isolation")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip says nothing"]
            raise ShoalError(
                f"{CHECKOUT}: no wheel can be built ({lines[-1].strip()}); install hatchling, or give --package a wheel"
            )
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.name, wheel.read_bytes()


def pinned_versions() -> str:
    """A constraints file with the versions that run here of all that shoal needs, a line each."""
    found = {name: version for name, version in _closure("shoal", frozenset(), set()) if name != "shoal"}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def _closure(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[tuple[str, str]]:
    """(package, public version) of a package and of all that it requires here."""
    key = (canonicalize_name(name), extras)
    if key in seen:
        return
    seen.add(key)
    try:
        found = distribution(name)
    except PackageNotFoundError:  # for another system
        return
    yield key[0], Version(found.version).public
    for line in found.requires or ():
        wanted = Requirement(line)
        if any(wanted.marker is None or wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield from _closure(wanted.name, frozenset(wanted.extras), seen)
