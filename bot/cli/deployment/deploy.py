"""`shoal deploy docker`, `systemd` and `space`."""

from __future__ import annotations

import getpass
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.deployment.secrets import SecretNames, read_secrets
from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_hub
from bot.cli.options import Endpoint, parse_repo_name
from bot.cli.output import terminal_narrator
from bot.errors import ShoalError

if TYPE_CHECKING:
    from bot.deployment.docker import Image
    from bot.deployment.files import DeployedFiles
    from bot.hub.client import Hub

deploy_app = typer.Typer(no_args_is_help=True, help="Write what runs shoal on another machine.")

_BACKEND = re.compile(r"cpu|cu[0-9]{2,3}|rocm[0-9.]+|xpu")

Watchlists = Annotated[list[Path], typer.Argument(metavar="WATCHLISTS", help="Watchlists with a schedule.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder for the files; made if needed.")]
Package = Annotated[
    str | None,
    typer.Option(
        "--package",
        metavar="WHEEL|ADDRESS",
        help="The shoal to install: a wheel, or git+https://…; default: a wheel of this checkout.",
        show_default=False,
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend", metavar="cpu|cuNNN", help="The build of PyTorch: cpu (default) or a CUDA.", show_default=False
    ),
]


@deploy_app.command("docker")
@one_line_errors
def docker_command(
    folder: Folder,
    watchlists: Watchlists,
    page: Annotated[bool, typer.Option("--page", help="Let others reach the page; it needs a login.")] = False,
    package: Package = None,
    backend: Backend = None,
) -> None:
    """Write a Dockerfile with all that it copies, and a compose file.

    Example: `shoal deploy docker ./container watchlists/my.yml`
    """
    from bot.deployment.docker import docker_files

    _write(folder, docker_files(_image(watchlists, package, backend or "cpu"), exposed=page))
    narrator = terminal_narrator()
    narrator.say(f"write the token into {folder / 'shoal.env'}")
    if page:
        narrator.say("set a password: docker compose run --rm shoal shoal page --set-password")
    narrator.say(f"then, in {folder}: docker compose up --detach --build")


@deploy_app.command("systemd")
@one_line_errors
def systemd_command(
    folder: Folder,
    watchlists: Watchlists,
    user: Annotated[bool, typer.Option("--user", help="A unit of your own, not the system's.")] = False,
    account: Annotated[str, typer.Option(help="The user that a system's unit runs as.")] = "shoal",
    home: Annotated[
        Path | None,
        typer.Option(help="The bot's folder; default: /var/lib/shoal, with --user ~/.shoal.", show_default=False),
    ] = None,
    page: Annotated[
        str | None, typer.Option("--page", metavar="[HOST:]PORT", help="Show a page there.", show_default=False)
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Let the unit use devices.")] = False,
) -> None:
    """Write a systemd unit for `shoal serve`, and a file for its secrets.

    Example: `shoal deploy systemd /etc/shoal watchlists/*.yml --page 8400`
    """
    from bot.cli.service.page import parse_place
    from bot.deployment.shipped import check_served
    from bot.deployment.systemd import SYSTEM_HOME, UNIT, ServiceUnit, unit_files

    check_served(watchlists)
    if page is not None:
        parse_place(page, "--page")
    folder, chosen = folder.expanduser().absolute(), home or (Path.home() / ".shoal" if user else SYSTEM_HOME)
    unit = ServiceUnit(
        folder, _program(), watchlists, chosen.expanduser().absolute(), None if user else account,
        page, gpu,
    )  # fmt: skip
    _write(folder, unit_files(unit))
    narrator, manager = terminal_narrator(), "systemctl --user" if user else "sudo systemctl"
    narrator.say(f"write the token into {folder / 'shoal.env'}")
    if chosen != SYSTEM_HOME:
        narrator.say(f"make the home if there is none: mkdir -p {shlex.quote(str(chosen))}")
    elif account != getpass.getuser():
        narrator.say(f"make the user if there is none: sudo useradd --system {account}")
    narrator.say(f"then: {manager} enable --now {shlex.quote(str(folder / UNIT))}")


@deploy_app.command("space")
@one_line_errors
def space_command(
    space: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The Space; made if needed.")],
    watchlists: Watchlists,
    state: Annotated[
        str | None,
        typer.Option(
            "--state", metavar="OWNER/NAME", help="The data set repo of its state; default: OWNER/NAME-state.",
            show_default=False,
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="user:NAME|org:NAME[:ROLE]", help="Who may log in; default: the token's owner.",
            show_default=False,
        ),
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Its hardware; default: as it is, cpu-basic at first.", show_default=False)
    ] = None,
    secrets: SecretNames = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new Space public.")] = False,
    package: Package = None,
    backend: Backend = None,
    dry_run: Annotated[
        Path | None,
        typer.Option("--dry-run", metavar="DIR", help="Write the files there instead.", show_default=False),
    ] = None,
    endpoint: Endpoint = None,
) -> None:  # fmt: skip
    """Run shoal in a Space of the Hub; the same command brings it up to date.

    Example: `shoal deploy space me/my-shoal watchlists/my.yml --allow user:me`
    """
    from bot.deployment.space import SpaceDeployment, push_space, space_files

    parse_repo_name("SPACE", space)
    kept = parse_repo_name("--state", state or f"{space}-state")
    if hardware and not hardware.startswith("cpu") and backend is None:
        raise ShoalError(f"--backend: got none: {hardware} has a GPU; name the CUDA of its PyTorch, such as cu130")
    files = space_files(_image(watchlists, package, backend or "cpu"), space, kept)
    narrator = terminal_narrator()
    if dry_run is not None:
        _write(dry_run, files)
        return
    client = open_hub(endpoint)
    variables = {"SHOAL_STATE": kept, "SHOAL_ALLOW": " ".join(_allowed(allow, client))}
    wanted = SpaceDeployment(space, files, variables, read_secrets(secrets), hardware, not public)
    with narrator.bar(f"bringing {space} up to date", None):
        commit = push_space(client, wanted)
    url = f"{client.endpoint}/spaces/{space}"
    narrator.say(f"{url}: its files are up to date" if commit is None else f"{url}: deployed at {commit[:12]}")
    narrator.say(f"its state is kept in {kept}; {variables['SHOAL_ALLOW']} may log in")


def _program() -> Sequence[str]:
    """The command `shoal` by its absolute path."""
    script = Path(sys.executable).with_name("shoal")
    return (str(script),) if script.exists() else (sys.executable, "-m", "bot")


def _allowed(given: Sequence[str] | None, client: Hub) -> Sequence[str]:
    from bot.service.page.login.allow_list import parse_allow_list

    entries = tuple(given or (f"user:{client.whoami()['name']}",))
    parse_allow_list(entries)
    return entries


def _image(watchlists: Sequence[Path], package: str | None, backend: str) -> Image:
    from bot.deployment.docker import Image
    from bot.deployment.package import find_package, pinned_versions
    from bot.deployment.shipped import ship_watchlists

    if not _BACKEND.fullmatch(backend):
        raise ShoalError(f"--backend: got {backend!r}: is no build of PyTorch; write cpu, or a CUDA such as cu130")
    shipped = ship_watchlists(watchlists)
    with terminal_narrator().bar("building a wheel" if package is None else "reading", None):
        return Image(find_package(package), pinned_versions(), backend, shipped, watchlists)


def _write(folder: Path, files: DeployedFiles) -> None:
    from bot.deployment.files import write_deployment

    new = write_deployment(folder, files)
    narrator = terminal_narrator()
    narrator.say(f"wrote {', '.join(new)} to {folder}" if new else f"{folder}: everything is there already")
