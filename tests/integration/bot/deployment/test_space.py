"""`shoal deploy space` with the genuine client against a local Hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.deployment.docker import Image
from bot.deployment.package import ShoalPackage
from bot.deployment.shipped import ship_watchlists
from bot.deployment.space import SpaceDeployment, push_space, space_files
from bot.errors import ShoalError
from bot.hub.client import Hub
from conftest import TestHub
from fixtures.served_watchlists import write_served
from localhub import Shelf
from localhub.shelves.space_settings import hash_secret, read_space_settings

SPACE = "reef/my-shoal"
WHEEL = ShoalPackage("/tmp/shoal/shoal-0.2.0-py3-none-any.whl", ("shoal-0.2.0-py3-none-any.whl", b"PK\x00" * 5000))


def deployment(folder: Path, *names: str, package: ShoalPackage = WHEEL) -> SpaceDeployment:
    paths = [write_served(folder, name) for name in names]
    files = space_files(Image(package, "torch==2.13.0\n", "cpu", ship_watchlists(paths), paths), SPACE, "reef/state")
    secrets, variables = {"HF_TOKEN": "hf_of_the_bot"}, {"SHOAL_STATE": "reef/state", "SHOAL_ALLOW": "user:ada"}
    return SpaceDeployment(SPACE, files, variables, secrets, None, private=True)


def client(hub: TestHub, token: str | None = None) -> Hub:
    return Hub(hub.endpoint, token or hub.token, sleep=lambda _: None)


def sent(hub: TestHub) -> list[str]:
    return [f"{method} {path}" for method, path in hub.faults.seen if method in ("POST", "PUT", "DELETE")]


def test_a_space_is_made_with_its_settings_and_brought_up_to_date(hub: TestHub, tmp_path: Path) -> None:
    first = deployment(tmp_path, "one", "two")
    commit = push_space(client(hub), first)
    api = hub.api()
    info = api.space_info(SPACE)
    assert (info.sha, info.private, info.sdk) == (commit, True, "docker")
    assert {one.rfilename for one in info.siblings} == {".gitattributes", *first.files}
    shelf = Shelf(hub.store, "spaces")
    assert all(shelf.read(SPACE, name) == file.content for name, file in first.files.items())
    space = shelf.find(SPACE)
    assert space is not None
    settings = read_space_settings(space)
    assert (settings.variables, settings.hardware) == (first.variables, "cpu-basic")
    assert settings.secrets == {"HF_TOKEN": hash_secret("hf_of_the_bot")}

    hub.faults.clear()
    assert push_space(client(hub), first) is None  # nothing is committed, so the Space is not built again
    assert sent(hub) == ["POST /api/spaces/reef/my-shoal/secrets"]

    newer = ShoalPackage("/tmp/shoal/shoal-0.3.0-py3-none-any.whl", ("shoal-0.3.0-py3-none-any.whl", b"PK"))
    second = replace(
        deployment(tmp_path, "one", package=newer), hardware="cpu-upgrade", variables={"SHOAL_ALLOW": "org:reef"}
    )
    assert push_space(client(hub), second) == api.space_info(SPACE).sha != commit
    there = {one.rfilename for one in api.space_info(SPACE).siblings}
    assert there == {".gitattributes", *second.files} and "watchlists/two.yml" not in there
    assert api.get_space_runtime(SPACE).requested_hardware == "cpu-upgrade"
    assert api.get_space_variables(SPACE)["SHOAL_ALLOW"].value == "org:reef"


def test_a_space_that_was_left_half_made_is_completed(hub: TestHub, tmp_path: Path) -> None:
    hub.faults.refuse("*/commit/main", 400, method="POST")
    with pytest.raises(ShoalError, match="the Hub answers 400"):
        push_space(client(hub), deployment(tmp_path, "one"))
    assert push_space(client(hub), deployment(tmp_path, "one")) == hub.api().space_info(SPACE).sha


def test_a_space_of_somebody_else_or_changed_meanwhile_is_left_alone(hub: TestHub, tmp_path: Path) -> None:
    wanted = deployment(tmp_path, "one")
    Shelf(hub.store, "spaces").commit(SPACE, {"app.py": "print()", "README.md": "---\nsdk: gradio\n---\n"})
    with pytest.raises(ShoalError, match=r"^SPACE: got 'reef/my-shoal': the Hub has this Space, and it is not shoal's"):
        push_space(client(hub), wanted)
    assert sent(hub) == []
    hub.api().delete_repo(SPACE, repo_type="space")
    push_space(client(hub), wanted)
    hub.faults.refuse("*/commit/main", 412, method="POST")
    with pytest.raises(ShoalError, match=r"reef/my-shoal: was changed on the Hub meanwhile; nothing was overwritten"):
        push_space(client(hub), deployment(tmp_path, "one", "two"))
    with pytest.raises(ShoalError, match=r"not on the Hub, or private|the Hub answers 403"):
        push_space(client(hub, hub.other_token), wanted)
