"""A container without Docker: what its Dockerfile installs and starts, in an environment of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from bot.deployment.docker import Image, docker_files
from bot.deployment.files import write_deployment
from bot.deployment.package import find_package
from bot.deployment.shipped import ship_watchlists
from fixtures.served_watchlists import write_served
from fixtures.shoal_process import end_with_test, until
from localhub import listen

NOBODY = 65534


def another_user() -> int | None:
    """A user without rights, if there is a choice: root's own Python may be closed to others."""
    python = Path(sys.executable).resolve()
    is_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in python.parents)
    return NOBODY if os.geteuid() == 0 and is_open else None


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may read; those of pytest are private."""
    with tempfile.TemporaryDirectory(prefix="shoal-container-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def install(folder: Path) -> Path:
    """Install the wheel in a virtual environment that borrows all other packages; returns its folder of commands."""
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", "--quiet", "--no-deps",
         "--no-index", wheel],
        check=True,
    )  # fmt: skip
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "packages.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return environment / "bin"


@pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None,
    reason="hatchling is not installed, so no wheel can be built without the network",
)
def test_the_container_s_command_is_well_with_the_wheel_alone(public_folder: Path) -> None:
    paths = [write_served(public_folder / "lists")]
    image = Image(find_package(None), "", "cpu", ship_watchlists(paths), paths)
    folder = public_folder / "image"
    write_deployment(folder, docker_files(image, exposed=False))
    commands, home = install(folder), public_folder / "home"
    home.mkdir()
    user = another_user()
    if user is not None:
        os.chown(home, user, user)
    with listen("127.0.0.1", 0) as free:
        port = str(free.getsockname()[1])
    (line,) = [line for line in (folder / "Dockerfile").read_text().splitlines() if line.startswith("CMD ")]
    words = [port if word == "8400" else word for word in json.loads(line.removeprefix("CMD "))]
    process = subprocess.Popen(
        [commands / words[0], *words[1:]], cwd=folder, user=user, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        env={"PATH": f"{commands}:/usr/bin:/bin", "HOME": str(home), "SHOAL_HOME": str(home / "home")},
    )  # fmt: skip
    end_with_test(process)

    def is_well() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        return False

    until(is_well, process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "small: next at" in err, err
    assert (home / "home").stat().st_uid == (user if user is not None else os.getuid())
