"""`shoal job` with the genuine client against a local Hub, which keeps Jobs and runs none."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bot.cli.deployment.job import parse_timeout
from bot.cli.deployment.secrets import read_secrets
from bot.deployment.jobs import (
    COMMAND,
    CycleJob,
    cost_limit,
    find_job,
    job_schedule,
    list_cycle_jobs,
    read_job_watchlist,
    remove_job,
    schedule_job,
    start_cycle_job,
    watchlist_of,
)
from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.watchlist.load import load_watchlist
from conftest import TestHub
from fixtures.folders import ROOT
from fixtures.served_watchlists import write_served
from fixtures.shoal_process import one_line_error, shoal, write_watchlist

JOB = CycleJob(
    "small", "hf.co/spaces/reef/my-shoal", {"SHOAL_STATE": "reef/state"}, {"HF_TOKEN": "hf_secret"}, "cpu-upgrade",
    6 * 3600, "reef",
)  # fmt: skip


def client(hub: TestHub) -> Hub:
    return Hub(hub.endpoint, hub.token, sleep=lambda _: None)


def test_a_scheduled_job_takes_the_place_of_its_own_predecessor_alone(hub: TestHub) -> None:
    bot, api = client(hub), hub.api()
    other = api.create_scheduled_job(image="ubuntu", command=["ls"], schedule="@daily", namespace="reef").id
    schedule_job(bot, replace(JOB, watchlist="another"), "@daily")
    assert schedule_job(bot, JOB, "0 3 * * *")[1] == 0
    id, replaced = schedule_job(bot, JOB, "0 4 * * *")
    assert replaced == 1
    assert sorted(map(watchlist_of, list_cycle_jobs(bot, "reef"))) == ["another", "small"]
    made = api.inspect_scheduled_job(scheduled_job_id=id, namespace="reef")
    assert (made.schedule, made.concurrency, made.job_spec.timeout) == ("0 4 * * *", False, 6 * 3600)
    assert made.job_spec.space_id == "reef/my-shoal" and made.job_spec.environment == {"SHOAL_STATE": "reef/state"}
    assert find_job(bot, "reef", "small") == find_job(bot, "reef", id) == id
    remove_job(bot, "reef", id)
    with pytest.raises(ShoalError, match=r"JOB: got 'small': reef has no such scheduled Job .*; there are: another"):
        find_job(bot, "reef", "small")
    assert other in {one.id for one in api.list_scheduled_jobs(namespace="reef")}
    assert "/api/whoami-v2" not in {path for _, path in hub.faults.seen}  # which the Hub limits strictly


def test_a_job_is_started_once_and_its_cost_has_a_limit(hub: TestHub) -> None:
    bot = client(hub)
    url = start_cycle_job(bot, replace(JOB, image="registry/shoal:1"))
    (job,) = hub.api().list_jobs(namespace="reef")
    assert url.endswith(f"/jobs/reef/{job.id}") and job.docker_image == "registry/shoal:1"
    assert job.labels == {"shoal": "cycle", "watchlist": "small", "name": "shoal-small"}
    assert cost_limit(bot, JOB) == pytest.approx(0.0005 * 360)
    with pytest.raises(ShoalError, match=r"--flavor: got 'h9000': .*; choose from cpu-basic, cpu-upgrade, a10g-small"):
        cost_limit(bot, replace(JOB, flavor="h9000"))


def test_the_job_s_command_hands_the_whole_watchlist_to_shoal(tmp_path: Path) -> None:
    path = ROOT / "watchlists" / "laptop-360m.yml"
    loaded, text = read_job_watchlist(path)
    assert "\n" not in text
    shoal = tmp_path / "shoal"
    shoal.write_text(f'#!/bin/sh\necho "$@"; cp "$2" {tmp_path}/got.yml\n')
    shoal.chmod(0o755)
    done = subprocess.run(
        COMMAND, env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SHOAL_WATCHLIST": text}, capture_output=True, text=True
    )
    assert done.stdout == "run /tmp/watchlist.yml\n"
    assert load_watchlist(tmp_path / "got.yml").digest == loaded.digest


def test_what_a_job_cannot_do_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ShoalError, match=r"small.yml:\d+: task_folders: got 1: a Job gets the watchlist alone"):
        read_job_watchlist(write_served(tmp_path))
    bare = load_watchlist(write_watchlist(tmp_path / "bare.yml"))
    with pytest.raises(ShoalError, match=r"--schedule: got none, nor has the watchlist one"):
        job_schedule(None, bare)
    tokyo = load_watchlist(
        write_watchlist(tmp_path / "tokyo.yml", schedule={"cron": "0 3 * * *", "timezone": "Asia/Tokyo"})
    )
    with pytest.raises(ShoalError, match=r"in Asia/Tokyo, but the Hub's clock is UTC; write the cron"):
        job_schedule(None, tokyo)
    assert job_schedule("@daily", tokyo) == "@daily"
    with pytest.raises(ShoalError, match=r"--timeout: got 'long': write a number of minutes, hours or days"):
        parse_timeout("long")
    assert [parse_timeout(text) for text in ("30m", "6h", "2d")] == [1800, 21600, 172800]
    with pytest.raises(ShoalError, match=r"--secret: got 'ABSENT': it is not set here; export ABSENT"):
        read_secrets(["ABSENT"], {})
    assert read_secrets(None, {"HF_TOKEN": "x"}) == {"HF_TOKEN": "x"}


def test_a_job_without_an_image_is_one_line() -> None:
    done = shoal("job", "run", ROOT / "watchlists" / "laptop-360m.yml", "--state", "reef/state")
    assert one_line_error(done) == "--space: name the Space whose image has shoal, or another --image; one of the two"
