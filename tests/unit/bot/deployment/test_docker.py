"""The files of containers: read as Docker, compose and pip would read them."""

from __future__ import annotations

import json
import shlex
import stat
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from bot.deployment.docker import Image, docker_files
from bot.deployment.files import write_deployment
from bot.deployment.package import ShoalPackage, find_package, pinned_versions
from bot.deployment.shipped import ship_watchlists
from bot.deployment.space import space_files
from bot.errors import ShoalError
from fixtures.folders import ROOT
from fixtures.served_watchlists import write_served
from fixtures.shoal_process import write_watchlist

WHEEL = ShoalPackage("/tmp/shoal/shoal-0.2.0-py3-none-any.whl", ("shoal-0.2.0-py3-none-any.whl", b"PK"))


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, its arguments) in order, with continued lines joined and comments left out."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def image(folder: Path, package: ShoalPackage = WHEEL, backend: str = "cpu") -> Image:
    paths = [write_served(folder, "one"), write_served(folder, "two")]
    return Image(package, "torch==2.13.0\n", backend, ship_watchlists(paths), paths)


def test_the_dockerfile_copies_what_is_there_and_runs_without_rights(tmp_path: Path) -> None:
    files = docker_files(image(tmp_path), exposed=False)
    found = instructions(files["Dockerfile"].content.decode())
    assert found[0] == ("FROM", f"python:{sys.version_info.major}.{sys.version_info.minor}-slim")
    copied = [name for what, text in found if what == "COPY" for name in text.replace("--chown=shoal", "").split()[:-1]]
    assert copied == ["constraints.txt", "wheels/", "watchlists/"]
    allowed = {line[1:] for line in files[".dockerignore"].content.decode().splitlines() if line.startswith("!")}
    assert {name.rstrip("/") for name in copied} == allowed
    assert all(any(name.startswith(one) for name in files) for one in copied)
    order = [what for what, _ in found]
    assert order.index("USER") < order.index("CMD") and dict(found)["USER"] == "shoal"
    start = json.loads(dict(found)["CMD"])
    assert start == ["shoal", "serve", "--page", "8400", "watchlists/one.yml", "watchlists/two.yml"]
    assert all(name in files for name in start[4:])
    assert "EXPOSE" not in order and dict(found)["VOLUME"] == "/home/shoal/home"
    health = json.loads(dict(found)["HEALTHCHECK"].partition("CMD")[2])
    assert "http://127.0.0.1:8400/healthz" in health[2] and compile(health[2], "healthcheck", "exec")
    install = shlex.split(next(text for what, text in found if what == "RUN" and "uv pip" in text))
    assert install[install.index("--torch-backend") + 1] == "cpu"
    assert install[install.index("--constraint") + 2] == "/tmp/shoal/shoal-0.2.0-py3-none-any.whl"
    assert "git" not in install


def test_a_container_with_a_gpu_from_an_address_and_a_page_for_others(tmp_path: Path) -> None:
    package = find_package("git+https://example.org/shoal.git@v1")
    files = docker_files(image(tmp_path, package, "cu130"), exposed=True)
    found = instructions(files["Dockerfile"].content.decode())
    text = files["Dockerfile"].content.decode()
    assert '"shoal @ git+https://example.org/shoal.git@v1"' in text and "--torch-backend cu130" in text
    assert "install --yes --no-install-recommends git" in text and "wheels" not in str(dict(found)["COPY"])
    assert dict(found)["EXPOSE"] == "8400" and "0.0.0.0:8400" in dict(found)["CMD"]
    service = yaml.safe_load(files["compose.yaml"].content)["services"]["shoal"]
    assert service["ports"] == ["127.0.0.1:8400:8400"] and service["env_file"] == "shoal.env"
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert yaml.safe_load(files["compose.yaml"].content)["volumes"] == {"home": None}


def test_a_space_has_its_card_its_port_and_no_volume(tmp_path: Path) -> None:
    files = space_files(image(tmp_path), "reef/my-shoal", "reef/state")
    _, front, body = files["README.md"].content.decode().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["sdk"], card["app_port"], card["hf_oauth"]) == ("docker", 7860, True)
    assert card["title"] == "my-shoal" and "`reef/state`" in body
    found = dict(instructions(files["Dockerfile"].content.decode()))
    assert json.loads(found["CMD"])[3] == "0.0.0.0:7860" and "VOLUME" not in found and found["EXPOSE"] == "7860"
    assert "shoal.env" not in files


def test_files_are_written_once_and_what_a_person_changed_is_kept(tmp_path: Path) -> None:
    folder, files = tmp_path / "out", docker_files(image(tmp_path), exposed=False)
    assert set(write_deployment(folder, files)) == set(files)
    assert stat.S_IMODE((folder / "shoal.env").stat().st_mode) == 0o600
    (folder / "shoal.env").write_text("HF_TOKEN=mine\n")
    assert write_deployment(folder, files) == ()
    assert (folder / "shoal.env").read_text() == "HF_TOKEN=mine\n"
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "compose.yaml").unlink()
    with pytest.raises(ShoalError, match=r"Dockerfile: exists already and is different; move it away"):
        write_deployment(folder, files)
    assert not (folder / "compose.yaml").exists()


def test_the_constraints_fit_all_that_shoal_requires() -> None:
    pins = dict(line.split("==") for line in pinned_versions().splitlines())
    assert pins["torch"] == version("torch").partition("+")[0] and "shoal" not in pins

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in map(Requirement, wanted):
        assert line.specifier.contains(pins[line.name.lower().replace("_", "-")]), line
    assert "aiohttp" in pins  # of an extra that a requirement asks for
    assert "pytest" not in pins


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("shoal", "write a wheel's path, or an address such as git"),
        ("absent.whl", "there is no such wheel"),
        ('git+https://example.org/"; rm -rf /', "write a wheel's path"),
    ],
)
def test_a_package_that_cannot_be_installed_is_refused(given: str, reason: str) -> None:
    with pytest.raises(ShoalError, match=rf"--package: got '{given[:4]}.*: {reason}"):
        find_package(given)


def test_only_watchlists_that_run_elsewhere_go_along(tmp_path: Path) -> None:
    shipped = ship_watchlists([write_served(tmp_path / "a")])
    assert "watchlists/small.yml" in shipped and "watchlists/tasks/math_en.yaml" in shipped
    with pytest.raises(ShoalError, match=r"b.yml: schedule: got none: `shoal serve` could not run it"):
        ship_watchlists([write_watchlist(tmp_path / "b.yml")])
    away = write_served(tmp_path / "c", task_folders=["../a/tasks"])
    with pytest.raises(ShoalError, match=r"small.yml:\d+: task_folders\[0\]: got '../a/tasks': only folders beside"):
        ship_watchlists([away])
    with pytest.raises(ShoalError, match=r"name: got 'small': .* has the same name"):
        ship_watchlists([tmp_path / "a" / "small.yml", write_served(tmp_path / "d")])
    other = write_served(tmp_path / "e", "other")
    (tmp_path / "e" / "tasks" / "more.txt").write_text("1")
    (tmp_path / "a" / "tasks" / "more.txt").write_text("2")
    with pytest.raises(ShoalError, match=r"other.yml: another watchlist brings a different tasks/more.txt"):
        ship_watchlists([tmp_path / "a" / "small.yml", other])
