"""Opens the page of a home: its application, its worker for reviews, and what must hold before others may reach it."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from bot.cycle.past.review import current_user
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.progress import Narrator
from bot.service.listener import open_listener
from bot.service.page.app import LOOPBACK_NAMES, create_page_app
from bot.service.page.controls import Controls, schedule_controls
from bot.service.page.login.password import read_password
from bot.service.page.login.sessions import Sessions
from bot.service.page.server import page_in_thread
from bot.service.page.views import Desk
from bot.service.review_worker import ReviewWorker, review_worker_in_thread
from bot.service.scheduler import CronJobs, DueWatchlists

_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""A name as it stands in a browser's address, without scheme and port; or all names below one."""

HubOf = Callable[[str], Hub]
"""The Hub that a cycle ran on, by the cycle's id."""


@dataclass(frozen=True)
class PageOptions:
    """Where the page is, and what can be done there.

    names: further names by which browsers reach it. review: whether releases can be decided on. host_option,
    port_option: the options that gave the two, for errors.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()
    review: bool = True
    host_option: str = "--host"
    port_option: str = "--port"


class PageBuilder:
    """Makes pages of one home."""

    def __init__(self, home: Home, hub: Hub, hub_of: HubOf, narrator: Narrator, watchlists: Sequence[Path]) -> None:
        self._home = home
        self._hub = hub
        self._hub_of = hub_of
        self._narrator = narrator
        self._watchlists = watchlists

    @contextmanager
    def opened(
        self, options: PageOptions, schedule: tuple[CronJobs, DueWatchlists] | None = None
    ) -> Iterator[tuple[FastAPI, socket.socket]]:
        """The page's application and its socket; its reviews are carried out while the block runs.

        Raises:
            ShoalError: the address or a name cannot be used, or others could reach the page and it has no password.
        """
        password = read_password(self._home.page_password)
        if not is_loopback(options.host) and password is None:
            raise ShoalError(
                f"{options.host_option}: got {options.host}: others could reach the page, and it has no password; "
                "set one with `shoal page --set-password`"
            )
        if wrong := [name for name in options.names if not _HOST_NAME.fullmatch(name)]:
            raise ShoalError(f"--name: got {wrong[0]!r}: write a host's name alone, as in shoal.example.org")
        controls = None
        if options.review:
            controls = Controls(self._home, schedule_controls(*schedule) if schedule else None)
        app = create_page_app(
            Desk(self._home, self._hub, self._watchlists),
            Sessions(current_user(), password),
            controls,
            scheduler_runs=schedule[0].is_running if schedule else None,
            hosts=(*LOOPBACK_NAMES, options.host, *options.names),
        )
        worker = ReviewWorker(self._home, self._hub_of, self._narrator)
        with ExitStack() as stack:
            listener = stack.enter_context(
                open_listener(
                    options.host, options.port, host_option=options.host_option, port_option=options.port_option
                )
            )
            if options.review:
                stack.enter_context(review_worker_in_thread(worker))
            yield app, listener

    @contextmanager
    def beside_schedule(self, options: PageOptions, cron_jobs: CronJobs, due: DueWatchlists) -> Iterator[None]:
        """Serve the page of a schedule in a thread while the block runs."""
        with self.opened(options, (cron_jobs, due)) as (app, listener), page_in_thread(app, listener):
            yield


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
