"""`shoal page`, and the page of `shoal serve`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.hub_client import cycle_hub, open_hub
from bot.cli.options import Endpoint, HomePath
from bot.cli.output import terminal_narrator
from bot.errors import ShoalError
from bot.home import Home, find_home

if TYPE_CHECKING:
    from bot.hub.client import Hub
    from bot.progress import Narrator
    from bot.service.page.open import PageBuilder, PageOptions
    from bot.service.serve import OpenPage

PORT = 8400
LOOPBACK = "127.0.0.1"

Host = Annotated[str, typer.Option(help="Address to listen on; another than this machine's needs a login.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", help="A further name by which browsers reach the page.", show_default=False),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="user:NAME|org:NAME[:ROLE]",
        envvar="SHOAL_ALLOW",
        help="An account of the Hub that may log in, or the members of an organisation. Needs an OAuth app.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", help="Where browsers reach the page through a proxy with TLS.", show_default=False),
]
Proxies = Annotated[
    list[str] | None,
    typer.Option("--proxy", metavar="ADDRESS", help="A proxy whose X-Forwarded-For is believed.", show_default=False),
]


@one_line_errors
def page_command(
    watchlists: Annotated[
        list[Path] | None, typer.Argument(metavar="WATCHLISTS", help="Watchlists to show, too.", show_default=False)
    ] = None,
    review: Annotated[bool, typer.Option("--review", help="Decide on releases there, too.")] = False,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = PORT,
    host: Host = LOOPBACK,
    names: Names = None,
    allow: Allow = None,
    url: Url = None,
    proxies: Proxies = None,
    set_password: Annotated[bool, typer.Option("--set-password", help="Set the page's password, and exit.")] = False,
    home: HomePath = None,
    endpoint: Endpoint = None,
) -> None:
    """Show in a browser what the bot does and has done.

    The page shows watchlists, the running cycle, past cycles with their fronts and reasons, and the cards of releases.
    `/healthz` and `/metrics` are for monitoring. `shoal serve --page PORT` has the same page, and can run a watchlist
    at once there. Ctrl-C and SIGTERM stop it; the exit status is then 0.

    Example: `shoal page --review watchlists/*.yml`
    """
    bot_home, narrator = find_home(home), terminal_narrator()
    if set_password:
        _ask_for_password(bot_home)
        return
    from bot.service.log import log_to_stderr
    from bot.service.page.open import PageOptions
    from bot.service.page.server import serve_page

    log_to_stderr()  # who has logged in, and who tried to
    builder = _page_builder(bot_home, open_hub(endpoint), endpoint, narrator, watchlists or ())
    options = PageOptions(
        host, port, tuple(names or ()), review, url, tuple(allow or ()), tuple(proxies or ())
    )  # fmt: skip
    with builder.opened(options) as (app, listener):
        shown = f"[{host}]" if ":" in host else host
        narrator.say(f"open {url or f'http://{shown}:{port}'} in a browser; Ctrl-C stops it")
        try:
            serve_page(app, listener)
        except KeyboardInterrupt:
            narrator.say("stopped")


def page_of(
    home: Home, hub: Hub, endpoint: str | None, narrator: Narrator, watchlists: Sequence[Path],
    options: PageOptions | None, webhook: str | None,
) -> Callable[[Callable[[], None]], OpenPage] | None:  # fmt: skip
    """What opens the page of `shoal serve`, and the way in for the Hub's calls; None if neither is wanted.

    It is given what keeps the home's state elsewhere, which is called before anything is published. webhook: the place
    for the calls, PORT or HOST:PORT. None: where there is a secret, they come to the page.

    Raises:
        ShoalError: `webhook` is given, and there is no secret.
    """
    from bot.service.page.open import WebhookOptions
    from bot.service.webhooks.secret import SECRET_VARIABLE, read_webhook_secret

    place, secret = None if webhook is None else parse_place(webhook, "--webhook"), read_webhook_secret(home)
    if place is not None and secret is None:
        raise ShoalError(
            f"--webhook: got {webhook}: there is no secret in {home.webhook_secret} or {SECRET_VARIABLE}; "
            "`shoal webhook register` makes one"
        )
    if options is None and place is None:
        return None
    builder = _page_builder(home, hub, endpoint, narrator, watchlists)
    calls = WebhookOptions(secret, place) if secret else None
    return lambda save: partial(builder.beside_schedule, options, calls, save=save)


def served_page(
    place: str | None,
    names: Sequence[str] | None,
    allow: Sequence[str] | None,
    url: str | None,
    proxies: Sequence[str] | None,
) -> PageOptions | None:
    """The options of the page of `shoal serve` at a place, PORT or HOST:PORT; None without one."""
    if place is None:
        return None
    from bot.service.page.open import PageOptions

    host, port = parse_place(place, "--page")
    return PageOptions(
        host, port, tuple(names or ()), url=url, allow=tuple(allow or ()), proxies=tuple(proxies or ()),
        host_option="--page", port_option="--page",
    )  # fmt: skip


def parse_place(text: str, option: str) -> tuple[str, int]:
    """(host, port) of `PORT`, `HOST:PORT` or `[IPV6]:PORT`; an error of wrong usage for anything else."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise typer.BadParameter(f"got {text!r}, should be PORT or HOST:PORT", param_hint=f"'{option}'")
    if not 0 < int(port) < 65536:
        raise typer.BadParameter(f"got {text!r}, its port should be from 1 to 65535", param_hint=f"'{option}'")
    return host.strip("[]") or LOOPBACK, int(port)


def _page_builder(
    home: Home, hub: Hub, endpoint: str | None, narrator: Narrator, watchlists: Sequence[Path]
) -> PageBuilder:
    from bot.ledger.ledger import Ledger
    from bot.service.page.open import PageBuilder

    def hub_of(cycle: str) -> Hub:
        ledger = Ledger(home.ledger)
        try:
            return cycle_hub(ledger, cycle, endpoint)
        finally:
            ledger.close()

    return PageBuilder(home, hub, hub_of, narrator, watchlists)


def _ask_for_password(home: Home) -> None:
    from bot.service.page.login.password import write_password

    write_password(home.page_password, typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    terminal_narrator().say(f"set in {home.page_password}; it holds from the page's next start")
