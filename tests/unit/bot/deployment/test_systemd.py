"""The systemd unit: read by systemd itself where it is installed, and by the rules of its syntax."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from bot.deployment.files import write_deployment
from bot.deployment.systemd import ServiceUnit, unit_files
from templates.plain_text import unit_argument, unit_path, unit_word


def settings(text: str) -> dict[str, list[str]]:
    """Key → its values, of all sections."""
    found = defaultdict(list)
    for line in text.splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def unit(folder: Path, account: str | None, home: Path, **changed: object) -> ServiceUnit:
    values = {"page": "8400", "gpu": False} | changed
    return ServiceUnit(folder, (sys.executable, "-m", "bot"), [folder / "w $1 100%.yml"], home, account, **values)  # type: ignore[arg-type]


def test_a_system_s_unit_may_write_to_its_home_alone(tmp_path: Path) -> None:
    files = unit_files(unit(tmp_path, "shoal", Path("/var/lib/shoal")))
    found = settings(files["shoal.service"].content.decode())
    assert found["User"] == ["shoal"] and found["StateDirectory"] == ["shoal"]
    assert found["ReadWritePaths"] == ["/var/lib/shoal"] and found["ProtectSystem"] == ["strict"]
    assert found["NoNewPrivileges"] == ["yes"] and found["CapabilityBoundingSet"] == [""]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"] and found["Restart"] == ["on-failure"]
    assert found["EnvironmentFile"] == [str(tmp_path / "shoal.env")]
    assert found["ExecStart"][0].endswith('serve --page 8400 "' + str(tmp_path) + '/w $$1 100%%.yml"')
    assert files["shoal.env"].secret and not files["shoal.service"].secret


def test_a_unit_of_one_s_own_has_no_user_and_a_gpu_has_devices(tmp_path: Path) -> None:
    files = unit_files(unit(tmp_path, None, tmp_path / "my home", page=None, gpu=True))
    found = settings(files["shoal.service"].content.decode())
    assert not {"User", "StateDirectory", "PrivateDevices", "ProtectClock"} & found.keys()
    assert found["WantedBy"] == ["default.target"] and found["PrivateUsers"] == ["yes"]
    assert found["ReadWritePaths"] == [f'"{tmp_path}/my home"'] and found["WorkingDirectory"] == [f"{tmp_path}/my home"]
    assert f'"SHOAL_HOME={tmp_path}/my home"' in found["Environment"][0]
    assert "--page" not in found["ExecStart"][0]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("account", ["root", None])
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, account: str | None) -> None:
    folder = tmp_path / "my units"
    write_deployment(folder, unit_files(unit(folder, account, tmp_path / "my home")))
    path = folder / "shoal.service"
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if account is not None:
        rated = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", path], capture_output=True, text=True
        ).stdout
        assert float(re.findall(r"Overall exposure level for shoal.service: ([0-9.]+)", rated)[0]) < 3


def test_words_of_a_unit_mean_what_they_are() -> None:
    assert [unit_word(text) for text in ("/a/b", "a b", 'a"b\\', "50%")] == ["/a/b", '"a b"', '"a\\"b\\\\"', '"50%%"']
    assert unit_argument("$HOME") == '"$$HOME"' and unit_word("$HOME") == '"$HOME"'
    assert unit_path("/a b/50%") == "/a b/50%%"
