"""`shoal job schedule`, `run`, `list` and `remove`: cycles as Jobs of the Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.deployment.secrets import SecretNames, read_secrets
from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_hub
from bot.cli.options import Endpoint, WatchlistPath, parse_repo_name
from bot.cli.output import terminal_narrator
from bot.errors import ShoalError

if TYPE_CHECKING:
    from bot.deployment.jobs import CycleJob
    from bot.watchlist.watchlist import Watchlist

job_app = typer.Typer(no_args_is_help=True, help="Run cycles as Jobs of the Hub.")

_DURATION = re.compile(r"(?P<number>[1-9][0-9]{0,5})(?P<unit>[mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}

Space = Annotated[
    str | None,
    typer.Option("--space", metavar="OWNER/NAME", help="Run in this Space's image.", show_default=False),
]
ImageName = Annotated[
    str | None, typer.Option("--image", help="Run in this container image, which has shoal.", show_default=False)
]
JobState = Annotated[
    str,
    typer.Option("--state", metavar="OWNER/NAME", envvar="SHOAL_STATE", help="The data set repo of its state."),
]
Flavor = Annotated[str, typer.Option(help="The hardware.")]
Timeout = Annotated[str, typer.Option(metavar="30m|6h|2d", help="The Hub ends a run after that; the next goes on.")]
JobNamespace = Annotated[
    str | None,
    typer.Option(help="Whose Jobs they are and who pays; default: publish.namespace.", show_default=False),
]
OwnNamespace = Annotated[str, typer.Option("--namespace", help="Whose Jobs they are.")]


@job_app.command("schedule")
@one_line_errors
def schedule_command(
    watchlist: WatchlistPath,
    state: JobState,
    schedule: Annotated[
        str | None,
        typer.Option(help="A cron expression in UTC, or @daily …; default: the watchlist's.", show_default=False),
    ] = None,
    space: Space = None,
    image: ImageName = None,
    flavor: Flavor = "cpu-upgrade",
    timeout: Timeout = "6h",
    secrets: SecretNames = None,
    namespace: JobNamespace = None,
    endpoint: Endpoint = None,
) -> None:
    """Have the Hub run a cycle on a schedule, in place of an earlier one of the watchlist.

    Example: `shoal job schedule watchlists/my.yml --space me/my-shoal --state me/my-state`
    """
    from bot.deployment.jobs import cost_limit, job_schedule, schedule_job

    loaded, job = _job(watchlist, state, space, image, flavor, timeout, secrets, namespace)
    when, client, narrator = job_schedule(schedule, loaded), open_hub(endpoint), terminal_narrator()
    limit = cost_limit(client, job)
    id, replaced = schedule_job(client, job, when)
    narrator.say(f"{job.watchlist}: scheduled at {when!r} (UTC) as {id}" + (", in place of another" * bool(replaced)))
    narrator.say(f"on {flavor} for at most {timeout}: at most ${limit:.2f} a run")


@job_app.command("run")
@one_line_errors
def run_job_command(
    watchlist: WatchlistPath,
    state: JobState,
    space: Space = None,
    image: ImageName = None,
    flavor: Flavor = "cpu-upgrade",
    timeout: Timeout = "6h",
    secrets: SecretNames = None,
    namespace: JobNamespace = None,
    endpoint: Endpoint = None,
) -> None:
    """Have the Hub run one cycle now.

    Example: `shoal job run watchlists/my.yml --space me/my-shoal --state me/my-state --flavor a10g-small`
    """
    from bot.deployment.jobs import cost_limit, start_cycle_job

    _, job = _job(watchlist, state, space, image, flavor, timeout, secrets, namespace)
    client, narrator = open_hub(endpoint), terminal_narrator()
    limit = cost_limit(client, job)
    narrator.say(f"{job.watchlist}: started as {start_cycle_job(client, job)}")
    narrator.say(f"on {flavor} for at most {timeout}: at most ${limit:.2f}")


@job_app.command("list")
@one_line_errors
def list_jobs_command(namespace: OwnNamespace, endpoint: Endpoint = None) -> None:
    """List the scheduled Jobs of shoal.

    Example: `shoal job list --namespace me`
    """
    from bot.deployment.jobs import list_cycle_jobs, watchlist_of

    for job in list_cycle_jobs(open_hub(endpoint), namespace):
        hours = f"{(job.job_spec.timeout or 0) / 3600:g} h"
        last = f"; last run {job.status.last_job.at:%Y-%m-%d %H:%M}" if job.status.last_job else ""
        typer.echo(f"{job.id}  {watchlist_of(job)}: {job.schedule} on {job.job_spec.flavor}, at most {hours}{last}")


@job_app.command("remove")
@one_line_errors
def remove_job_command(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A watchlist's name, or a scheduled Job's id.")],
    namespace: OwnNamespace,
    endpoint: Endpoint = None,
) -> None:
    """Delete a scheduled Job of shoal; a run that is under way goes on.

    Example: `shoal job remove my-merges --namespace me`
    """
    from bot.deployment.jobs import find_job, remove_job

    client = open_hub(endpoint)
    id = find_job(client, namespace, job)
    remove_job(client, namespace, id)
    terminal_narrator().say(f"removed {id}")


def _job(
    path: Path, state: str, space: str | None, image: str | None, flavor: str, timeout: str, secrets: list[str] | None,
    namespace: str | None,
) -> tuple[Watchlist, CycleJob]:  # fmt: skip
    from bot.deployment.jobs import CycleJob, read_job_watchlist

    loaded, text = read_job_watchlist(path)
    if (space is None) == (image is None):
        raise ShoalError("--space: name the Space whose image has shoal, or another --image; one of the two")
    place = image or f"hf.co/spaces/{parse_repo_name('--space', space or '')}"
    owner = namespace or loaded.publish.namespace
    if owner is None:
        raise ShoalError("--namespace: got none, nor has the watchlist a publish.namespace; name who pays for the Job")
    environment = {
        "SHOAL_WATCHLIST": text,
        "SHOAL_STATE": parse_repo_name("--state", state),
        "SHOAL_HOME": "/tmp/shoal",
    }
    return loaded, CycleJob(
        loaded.name, place, environment, read_secrets(secrets), flavor, parse_timeout(timeout), owner
    )


def parse_timeout(text: str) -> int:
    """`30m`, `6h` or `2d` in seconds; ShoalError for anything else."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ShoalError(f"--timeout: got {text!r}: write a number of minutes, hours or days, such as 30m, 6h or 2d")
    return int(found["number"]) * _SECONDS[found["unit"]]
