"""`shoal page`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_hub
from bot.cli.options import Endpoint, HomePath
from bot.cli.output import terminal_narrator
from bot.home import find_home

if TYPE_CHECKING:
    from bot.home import Home
    from bot.hub.client import Hub
    from bot.service.serve import OpenPage

PORT = 8400


@one_line_errors
def page_command(
    watchlists: Annotated[
        list[Path] | None, typer.Argument(metavar="WATCHLISTS", help="Watchlists to show, too.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = PORT,
    home: HomePath = None,
    endpoint: Endpoint = None,
) -> None:
    """Show in a browser what the bot does and has done.

    The page shows watchlists, the running cycle, past cycles with their fronts and reasons, and the cards of releases.
    It changes nothing, and only this machine can open it. `/healthz` and `/metrics` are for monitoring. Ctrl-C and
    SIGTERM stop it; the exit status is then 0. `shoal serve --page PORT` has the same page.

    Example: `shoal page watchlists/*.yml`
    """
    from bot.service.listener import open_listener
    from bot.service.page.app import create_page_app
    from bot.service.page.server import HOST, serve_page
    from bot.service.page.views import Desk

    desk, narrator = Desk(find_home(home), open_hub(endpoint), watchlists or ()), terminal_narrator()
    with open_listener(HOST, port) as listener:
        narrator.say(f"open http://{HOST}:{port} in a browser; Ctrl-C stops it")
        try:
            serve_page(create_page_app(desk), listener)
        except KeyboardInterrupt:
            narrator.say("stopped")


def page_of(home: Home, hub: Hub, watchlists: Sequence[Path], port: int | None) -> OpenPage:
    """What opens the page of `shoal serve`, at a port if one is given."""
    if port is None:
        return nullcontext

    @contextmanager
    def open_page(scheduler_runs: Callable[[], bool]) -> Iterator[None]:
        from bot.service.listener import open_listener
        from bot.service.page.app import create_page_app
        from bot.service.page.server import HOST, page_in_thread
        from bot.service.page.views import Desk

        app = create_page_app(Desk(home, hub, watchlists), scheduler_runs)
        with open_listener(HOST, port, port_option="--page") as listener, page_in_thread(app, listener):
            yield

    return open_page
