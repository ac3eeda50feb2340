"""`shoal notify`, and the notifier of the commands that run cycles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.options import AsJson, HomePath
from bot.cli.output import show_json
from bot.errors import ShoalError
from bot.home import Home, find_home

if TYPE_CHECKING:
    from bot.hub.client import Hub
    from bot.service.notifications.notifier import Notifier


def open_notifier(home: Home, hub: Hub, on_lost: Callable[[], None] = lambda: None) -> Notifier:
    """The notifier of this machine's addresses; a wrong one is an error now, not after hours of work.

    on_lost: called for each message that did not arrive.
    """
    from bot.service.notifications.addresses import read_addresses
    from bot.service.notifications.notifier import Notifier

    return Notifier(read_addresses(home), home, hub, on_lost)


@one_line_errors
def notify_command(
    test: Annotated[bool, typer.Option("--test", help="Send a test message to every address.")] = False,
    home: HomePath = None,
    as_json: AsJson = False,
) -> None:
    """Show where notifications go, without secrets.

    `shoal run` and `shoal serve` tell people how cycles end, at the addresses in SHOAL_NOTIFY (separated by spaces),
    else in the file `notify` in the home (one a line; chmod 600). They are URLs of apprise for over a hundred services:
    `mailto://user:password@example.org`, `slack://tokenA/tokenB/tokenC`, `json://host/path`. A watchlist's
    `notify.events` says which ends it wants to be told.

    Example: `shoal notify --test`
    """
    from bot.service.notifications.addresses import VARIABLE, read_addresses
    from bot.service.notifications.messages import TEST_MESSAGE
    from bot.service.notifications.send import Delivery, send_message

    bot_home = find_home(home)
    addresses = read_addresses(bot_home)
    if not addresses:
        raise ShoalError(f"{VARIABLE}: got no addresses, and none in {bot_home.notify}: write some into either")
    deliveries = send_message(addresses, TEST_MESSAGE) if test else tuple(Delivery(one.name, None) for one in addresses)
    if as_json:
        show_json({"sent": test, "addresses": [asdict(one) for one in deliveries]})
    else:
        for one in deliveries:
            typer.echo(f"{one.address}: {one.fault or 'arrived'}" if test else one.address)
    if lost := [one for one in deliveries if one.fault is not None]:
        raise ShoalError(f"{len(lost)} of {len(deliveries)} test messages did not arrive; correct the addresses")
