"""`shoal serve`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import Terminated, one_line_errors
from bot.cli.hub_client import open_hub
from bot.cli.options import Endpoint, HomePath, StateName
from bot.cli.output import terminal_narrator
from bot.cli.service.notifications import open_notifier
from bot.cli.service.page import Allow, Names, Proxies, Url, page_of, served_page
from bot.cli.service.state import open_state
from bot.home import find_home

if TYPE_CHECKING:
    from bot.progress import Narrator
    from bot.watchlist.watchlist import Watchlist


PagePlace = Annotated[
    str | None,
    typer.Option(
        "--page",
        metavar="[HOST:]PORT",
        help="Show a page there; another HOST than this machine needs a login.",
        show_default=False,
    ),
]
WebhookPlace = Annotated[
    str | None,
    typer.Option(
        "--webhook",
        metavar="[HOST:]PORT",
        help="Take the Hub's calls there, see `shoal webhook`; default: at the page, if there is a secret.",
        show_default=False,
    ),
]


@one_line_errors
def serve_command(
    watchlists: Annotated[list[Path], typer.Argument(metavar="WATCHLISTS", help="Watchlists with a schedule.")],
    home: HomePath = None,
    endpoint: Endpoint = None,
    state: StateName = None,
    page: PagePlace = None,
    names: Names = None,
    allow: Allow = None,
    url: Url = None,
    proxies: Proxies = None,
    webhook: WebhookPlace = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
) -> None:
    """Run watchlists on their schedules until SIGTERM.

    Cycles run one at a time, in the order in which they were due. A missed run is made up once. Interrupted and
    failed cycles are resumed at start-up; one that fails later is tried again after 5, 10, 20, 40, 60 and 60 minutes.
    Edited watchlists are read again, all of them after SIGHUP; a wrong edit is logged and changes nothing.
    SIGTERM stops a cycle at any point; the exit status is then 0.

    Example: `shoal serve watchlists/*.yml`
    """
    from bot.lock import hold_schedule
    from bot.service.facts.service_file import ServiceFile
    from bot.service.live import live_narrator
    from bot.service.log import LogNarrator, log_of, log_to_stderr
    from bot.service.serve import RereadRequest, serve_watchlists

    bot_home, client, request = find_home(home), open_hub(endpoint), RereadRequest()
    service_file = ServiceFile(bot_home)
    notifier = open_notifier(bot_home, client, service_file.count_lost_notification)
    narrator = LogNarrator(log_of("page"))
    options = served_page(page, names, allow, url, proxies)
    open_page = page_of(bot_home, client, endpoint, narrator, watchlists, options, webhook)
    log_to_stderr(as_json=log_json)
    signal.signal(signal.SIGHUP, request.make)

    def run_one(loaded: Watchlist, narrator: Narrator, save: Callable[[], None]) -> None:
        from bot.cycle.run import run_cycle

        with live_narrator(narrator, bot_home, loaded.name) as live:
            notifier.run(loaded, lambda: run_cycle(loaded, bot_home, client, live, save=save), live.say)

    try:
        # The schedule first: a second service on this home is refused before it takes the state from the first one.
        with (
            hold_schedule(bot_home),
            open_state(state, client, bot_home, log_of("state").info, beside_schedule=False) as keeper,
        ):
            save = keeper.save if keeper else lambda: None
            page_of_state = open_page(save) if open_page else None
            serve_watchlists(watchlists, bot_home, partial(run_one, save=save), request, page_of_state, service_file)
    except Terminated:
        terminal_narrator().say("stopped")
