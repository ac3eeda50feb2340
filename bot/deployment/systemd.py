"""A systemd unit for `shoal serve`, and its file for secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.deployment.files import DeployedFile, text_file
from templates.plain_text import render_plain

SYSTEM_HOME = Path("/var/lib/shoal")
"""The home of a system's unit, which systemd makes."""

UNIT, ENV_FILE = "shoal.service", "shoal.env"


@dataclass(frozen=True)
class ServiceUnit:
    """A unit.

    folder: where its files lie. program: the command `shoal`, as words. account: the user that a system's unit runs as;
    None for a unit of the user who writes it. page: the page's port or HOST:PORT; None without one. gpu: whether it may
    use devices.
    """

    folder: Path
    program: Sequence[str]
    watchlists: Sequence[Path]
    home: Path
    account: str | None
    page: str | None
    gpu: bool


def unit_files(unit: ServiceUnit) -> dict[str, DeployedFile]:
    """The unit and its file for secrets, with absolute paths."""
    page = ("--page", unit.page) if unit.page is not None else ()
    text = render_plain(
        "deployment/shoal.service.j2",
        user_unit=unit.account is None,
        account=unit.account,
        makes_home=unit.account is not None and unit.home == SYSTEM_HOME,
        home=str(unit.home),
        env_file=str(unit.folder / ENV_FILE),
        start=[*unit.program, "serve", *page, *(str(path.absolute()) for path in unit.watchlists)],
        gpu=unit.gpu,
    )
    secrets = render_plain("deployment/shoal.env.j2", reader="systemd")
    return {UNIT: text_file(text), ENV_FILE: text_file(secrets, secret=True)}
