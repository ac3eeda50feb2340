"""Jobs of the Hub that run one cycle, once or on a schedule: what is asked for, and the calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.watchlist.load import load_watchlist
from bot.watchlist.watchlist import Watchlist
from bot.watchlist.yaml_file import STDIN, read_yaml

if TYPE_CHECKING:
    from huggingface_hub import ScheduledJobInfo

LABEL = {"shoal": "cycle"}
"""The label by which shoal's Jobs are found among others."""

COMMAND = ("sh", "-c", 'printf %s "$SHOAL_WATCHLIST" > /tmp/watchlist.yml && exec shoal run /tmp/watchlist.yml')
"""The watchlist comes in the environment. `exec`, so that SIGTERM reaches shoal, which then saves the state."""

_MINUTES = {"minute": 1, "hour": 60}


@dataclass(frozen=True)
class CycleJob:
    """A Job that runs one cycle of a watchlist.

    image: a container image, or `hf.co/spaces/OWNER/NAME` for that of a Space. timeout: seconds.
    """

    watchlist: str
    image: str
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    flavor: str
    timeout: int
    namespace: str


def read_job_watchlist(path: Path) -> tuple[Watchlist, str]:
    """A watchlist, and its text for a Job: all keys on one line.

    Raises:
        ShoalError: it is wrong, is no file, or has tasks of its own, which a Job does not get.
    """
    if path == STDIN:
        raise ShoalError("WATCHLIST: got '-': a Job needs a file; write the watchlist to one")
    watchlist, file = load_watchlist(path, with_tasks=True), read_yaml(path)
    if watchlist.task_folders:
        raise ShoalError(
            f"{path}:{file.line(('task_folders',))}: task_folders: got {len(watchlist.task_folders)}: a Job gets the "
            "watchlist alone; use tasks of lm-eval, or `shoal deploy space`, which brings folders along"
        )
    return watchlist, json.dumps(file.data, ensure_ascii=False)


def job_schedule(given: str | None, watchlist: Watchlist) -> str:
    """When a Job is to run, for the Hub, whose clock is UTC: as given, else as the watchlist says.

    Raises:
        ShoalError: neither says it, or the watchlist says it in another time zone.
    """
    if given is not None:
        return given
    schedule = watchlist.schedule
    if schedule is None:
        raise ShoalError(
            "--schedule: got none, nor has the watchlist one; write a cron expression, such as '0 3 * * 1'"
        )
    if schedule.timezone != "UTC":
        raise ShoalError(
            f"--schedule: got none, and the watchlist's is in {schedule.timezone}, but the Hub's clock is UTC; "
            "write the cron expression in UTC"
        )
    return schedule.cron


def cost_limit(hub: Hub, job: CycleJob) -> float:
    """The most dollars that a run can cost: the price of its hardware until its timeout.

    Raises:
        ShoalError: the Hub has no such hardware.
    """
    hardware = {one.name: one for one in hub.call(hub.api.list_jobs_hardware)}
    if job.flavor not in hardware:
        raise ShoalError(
            f"--flavor: got {job.flavor!r}: the Hub has no such hardware; choose from {', '.join(hardware)}"
        )
    price = hardware[job.flavor]
    minutes = _MINUTES.get(price.unit_label)
    if minutes is None:
        raise ShoalError(f"{hub.endpoint}: prices are told by {price.unit_label!r}, which this shoal does not know")
    return price.unit_cost_usd / minutes * job.timeout / 60


def schedule_job(hub: Hub, job: CycleJob, schedule: str) -> tuple[str, int]:
    """Have a Job run on a schedule, in place of those for its watchlist; returns its id, and how many it replaced."""
    replaced = [one.id for one in list_cycle_jobs(hub, job.namespace) if watchlist_of(one) == job.watchlist]
    create = partial(hub.api.create_scheduled_job, schedule=schedule, concurrency=False, **_specification(job))
    made = hub.call(lambda _: create(), job.namespace)
    for id in replaced:  # after the new one is there
        remove_job(hub, job.namespace, id)
    return str(made.id), len(replaced)


def start_cycle_job(hub: Hub, job: CycleJob) -> str:
    """Start a Job once, now; returns its address."""
    start = partial(hub.api.run_job, **_specification(job))
    return str(hub.call(lambda _: start(), job.namespace).url)


def list_cycle_jobs(hub: Hub, namespace: str) -> tuple[ScheduledJobInfo, ...]:
    """The scheduled Jobs of shoal in a namespace."""
    # Not by keyword in `call`: it names what the call was about.
    return tuple(hub.call(lambda space: hub.api.list_scheduled_jobs(labels=LABEL, namespace=space), namespace))


def watchlist_of(job: ScheduledJobInfo) -> str:
    """The name of the watchlist that a Job runs."""
    return str((job.job_spec.labels or {}).get("watchlist", ""))


def find_job(hub: Hub, namespace: str, name: str) -> str:
    """The id of shoal's scheduled Job with that id or for the watchlist of that name; ShoalError without one."""
    jobs = {watchlist_of(one): str(one.id) for one in list_cycle_jobs(hub, namespace)}
    if name in jobs.values():
        return name
    if name not in jobs:
        known = ", ".join(jobs) or "none"
        raise ShoalError(f"JOB: got {name!r}: {namespace} has no such scheduled Job of shoal; there are: {known}")
    return jobs[name]


def remove_job(hub: Hub, namespace: str, id: str) -> None:
    """Delete a scheduled Job."""
    hub.call(lambda _: hub.api.delete_scheduled_job(scheduled_job_id=id, namespace=namespace), f"{namespace}/{id}")


def _specification(job: CycleJob) -> dict[str, Any]:
    return {
        "image": job.image,
        "command": list(COMMAND),
        "env": dict(job.environment),
        "secrets": dict(job.secrets),
        "flavor": job.flavor,
        "timeout": job.timeout,
        "labels": LABEL | {"watchlist": job.watchlist},
        "name": f"shoal-{job.watchlist}",
        "namespace": job.namespace,
    }
