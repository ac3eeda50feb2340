"""Opens the page of a home: its application, its worker for reviews, and what must hold before others may reach it."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI

from bot.cycle.past.review import current_user
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.progress import Narrator
from bot.service.listener import open_listener
from bot.service.log import log_of
from bot.service.page.app import LOOPBACK_NAMES, create_page_app, create_webhook_app
from bot.service.page.controls import Controls, schedule_controls
from bot.service.page.login.allow_list import parse_allow_list
from bot.service.page.login.hub_login import HubLogin
from bot.service.page.login.oauth_app import CLIENT_ID, CLIENT_SECRET, read_oauth_app
from bot.service.page.login.password import read_password
from bot.service.page.login.sessions import Sessions
from bot.service.page.server import page_in_thread
from bot.service.page.views import Desk
from bot.service.retries import Retries
from bot.service.review_worker import ReviewWorker, review_worker_in_thread
from bot.service.scheduler import CronJobs, DueWatchlists
from bot.service.webhooks.receiver import Receiver
from bot.service.webhooks.wakes import Wakes

_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""A name as it stands in a browser's address, without scheme and port; or all names below one."""

_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

HubOf = Callable[[str], Hub]
"""The Hub that a cycle ran on, by the cycle's id."""


@dataclass(frozen=True)
class PageOptions:
    """Where the page is, whom it lets in, and what can be done there.

    names: further names by which browsers reach it. url: the address by which they reach it through a proxy. allow:
    the accounts of the Hub that are let in, as `parse_allow_list` reads them. proxies: addresses or networks of
    proxies whose word for a client's address is taken. review: whether releases can be decided on. host_option,
    port_option: the options that gave the two, for errors.
    """

    host: str
    port: int
    names: tuple[str, ...] = ()
    review: bool = True
    url: str | None = None
    allow: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    host_option: str = "--host"
    port_option: str = "--port"


@dataclass(frozen=True)
class WebhookOptions:
    """How the Hub's calls come in. place: (host, port) of their own; None: they come to the page's port."""

    secret: str
    place: tuple[str, int] | None


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
        self,
        options: PageOptions,
        schedule: tuple[CronJobs, DueWatchlists, Retries] | None = None,
        receiver: Receiver | None = None,
        save: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[FastAPI, socket.socket]]:
        """The page's application and its socket; its reviews are carried out while the block runs.

        save: keeps the home's state elsewhere; called before anything is published.

        Raises:
            ShoalError: an option cannot be used, or others could reach the page and nobody would have to log in.
        """
        public_url, password = read_public_url(options.url), read_password(self._home.page_password)
        hub_login = self._hub_login(options, public_url)
        check_names(options.names)
        check_proxies(options.proxies)
        if password is None and hub_login is None:
            check_unreachable(options, public_url)
        controls = None
        if options.review:
            controls = Controls(self._home, schedule_controls(self._home, *schedule) if schedule else None)
        own_name = [name] if public_url and (name := urlsplit(public_url).hostname) else []
        app = create_page_app(
            Desk(self._home, self._hub, self._watchlists),
            Sessions(
                current_user(),
                password,
                hub_accounts=hub_login is not None,
                is_secure=public_url is not None and public_url.startswith("https:"),
            ),
            controls,
            scheduler_runs=schedule[0].is_running if schedule else None,
            hosts=(*LOOPBACK_NAMES, options.host, *options.names, *own_name),
            hub_login=hub_login,
            public_url=public_url,
            proxies=options.proxies,
            receiver=receiver,
        )
        worker = ReviewWorker(self._home, self._hub_of, self._narrator, save)
        with ExitStack() as stack:
            listener = stack.enter_context(
                open_listener(
                    options.host, options.port, host_option=options.host_option, port_option=options.port_option
                )
            )
            if options.review:
                stack.enter_context(review_worker_in_thread(worker))
            yield app, listener

    def _hub_login(self, options: PageOptions, public_url: str | None) -> HubLogin | None:
        """The login with accounts of the Hub; None where none is let in."""
        if not options.allow:
            return None
        allowed = parse_allow_list(options.allow)
        app = read_oauth_app(self._home.page_oauth, self._hub.endpoint)
        if app is None:
            raise ShoalError(
                f"--allow: got {options.allow[0]!r}, but there is no OAuth app: make one in the settings of your Hub "
                f"account, and write {CLIENT_ID}=… and {CLIENT_SECRET}=… into {self._home.page_oauth} (chmod 600) or "
                "the environment"
            )
        if public_url is None and not is_loopback(options.host):
            raise ShoalError("--allow: the Hub must know where it sends browsers back to: add --url https://HOST")
        return HubLogin(app, allowed)

    @contextmanager
    def beside_schedule(
        self,
        page: PageOptions | None,
        webhook: WebhookOptions | None,
        cron_jobs: CronJobs,
        due: DueWatchlists,
        retries: Retries,
        wakes: Wakes,
        save: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """Serve the page of a schedule, and the Hub's calls to it, in threads while the block runs.

        save: as of `opened`.
        """
        receiver = Receiver(webhook.secret, wakes, log_of("webhook")) if webhook else None
        with ExitStack() as stack:
            if receiver is not None and webhook is not None and webhook.place is not None:
                stack.enter_context(self._webhook_port(*webhook.place, receiver, cron_jobs))
                receiver = None  # the page's port is not for the Hub then
            if page is not None:
                app, listener = stack.enter_context(self.opened(page, (cron_jobs, due, retries), receiver, save))
                stack.enter_context(page_in_thread(app, listener))
            yield

    @contextmanager
    def _webhook_port(self, host: str, port: int, receiver: Receiver, cron_jobs: CronJobs) -> Iterator[None]:
        app = create_webhook_app(Desk(self._home, self._hub, self._watchlists), receiver, cron_jobs.is_running)
        with (
            open_listener(host, port, host_option="--webhook", port_option="--webhook") as listener,
            page_in_thread(app, listener),
        ):
            yield


def read_public_url(given: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The address by which browsers reach the page, without a slash at its end; in a Space, the Space's by default.

    None: whatever address they ask for. ShoalError for one that is more than scheme, host and port.
    """
    if given is None:
        space = environment.get("SPACE_HOST")
        return f"https://{space}" if space else None
    parts = urlsplit(given)
    whole = f"{parts.scheme}://{parts.netloc}"
    if given.rstrip("/") != whole or parts.scheme not in ("http", "https") or not _AUTHORITY.fullmatch(parts.netloc):
        raise ShoalError(f"--url: got {given!r}: write scheme and host alone, as in https://shoal.example.org")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ShoalError(f"--url: got {given!r}: logins need https:// on the way to the proxy")
    return whole


def check_unreachable(options: PageOptions, public_url: str | None) -> None:
    """ShoalError if anybody but this machine could reach the page: by its own address, or by a proxy on this machine.

    That others come through a proxy is known from the names by which they ask.
    """
    url_host = urlsplit(public_url).hostname if public_url else None
    ways = [(options.host_option, options.host, options.host), ("--url", public_url, url_host or LOOPBACK_NAMES[0])]
    ways += [("--name", name, name) for name in options.names]
    for option, given, host in ways:
        if not is_loopback(host):
            raise ShoalError(
                f"{option}: got {given}: others could reach the page, and nobody would have to log in; set a password "
                "with `shoal page --set-password`, or let accounts of the Hub in: --allow user:NAME"
            )


def check_names(names: Sequence[str]) -> None:
    """ShoalError unless each can be the host of a browser's address."""
    if wrong := [name for name in names if not _HOST_NAME.fullmatch(name)]:
        raise ShoalError(f"--name: got {wrong[0]!r}: write a host's name alone, as in shoal.example.org")


def check_proxies(proxies: Sequence[str]) -> None:
    """ShoalError unless each is an address or a network."""
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise ShoalError(
                f"--proxy: got {proxy!r}: write the proxy's address or network, as in 10.0.0.0/8"
            ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
