"""The locks of a home, between real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.home import Home
from bot.lock import HomeIsBusyError, hold_home, hold_schedule, is_home_held
from fixtures.folders import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from bot.home import Home
from bot.lock import hold_home
with hold_home(Home(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(home: Home) -> subprocess.Popen[str]:
    """Another process that holds the home."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_whether_a_home_is_held_is_seen_without_a_trace(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert not is_home_held(home) and not home.folder.exists()
    with hold_home(home):
        assert is_home_held(home)
    assert not is_home_held(home)


def test_a_home_in_use_is_refused_until_its_holder_dies(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    holder = start_holder(home)
    with pytest.raises(HomeIsBusyError, match=f"{home.folder}: another shoal process is using"), hold_home(home):
        pass
    holder.kill()
    holder.wait()
    with hold_home(home):
        pass


def test_one_who_waits_gets_the_home_when_it_is_free(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    holder = start_holder(home)
    waits: list[float] = []

    def on_wait() -> None:
        waits.append(time.monotonic())
        threading.Timer(0.3, holder.kill).start()

    with hold_home(home, on_wait):
        assert len(waits) == 1 and time.monotonic() - waits[0] >= 0.3
    holder.wait()


def test_the_schedule_has_a_lock_of_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with hold_schedule(home), hold_home(home), pytest.raises(HomeIsBusyError, match="shoal serve"), hold_schedule(home):
        pass


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(ShoalError, match=rf"--home: got '{folder}': .*; choose a folder"), hold_home(Home(folder)):
            pass
