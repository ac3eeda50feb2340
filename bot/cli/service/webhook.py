"""`shoal webhook`: the Hub's calls, which wake watchlists between their scheduled runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_hub
from bot.cli.ledgers import read_ledger
from bot.cli.options import AsJson, Endpoint, HomePath
from bot.cli.output import show_json, show_result
from bot.errors import ShoalError
from bot.home import find_home
from bot.progress import printable
from bot.watchlist.load import load_watchlist

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bot.home import Home
    from bot.service.webhooks.registration import RegisteredWebhook, Registration
    from bot.watchlist.watchlist import Watchlist

webhook_commands = typer.Typer(
    name="webhook",
    help="Let the Hub call `shoal serve` when a model changes, so that it need not wait for its schedule.",
    no_args_is_help=True,
)


@webhook_commands.command("register")
@one_line_errors
def register_command(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the Hub reaches `shoal serve`, with https.")],
    watchlists: Annotated[list[Path], typer.Argument(metavar="WATCHLISTS", help="Watchlists to wake.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the Hub would watch; change nothing.")] = False,
    home: HomePath = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Let the Hub watch the owners of a watchlist's models.

    These are the owners of pinned models and bases, the authors that it allows, and the owners of sources that earlier
    cycles merged. The Hub cannot watch tags: models of others are found on the schedule. Run it again when there are
    new sources: the webhook with this URL is updated only if something changed. A secret is made if there is none; it
    stays in the home (`webhook-secret`), and `shoal serve` reads it when it starts.

    Example: `shoal webhook register https://shoal.example.org/webhook watchlists/*.yml`
    """
    from bot.service.webhooks.registration import Registrar, Registration, check_url
    from bot.service.webhooks.secret import make_webhook_secret, read_webhook_secret
    from bot.service.webhooks.watched import blind_spots, owners_to_watch

    bot_home, client = find_home(home), open_hub(endpoint)
    url = check_url(url, client.endpoint)
    loaded = [load_watchlist(path) for path in watchlists]
    registrar = Registrar(client)
    watched, missing = registrar.find_watched(owners_to_watch(loaded, _known_sources(bot_home, loaded)))
    if not watched:
        raise ShoalError(
            "WATCHLISTS: there is nobody to watch yet: they name no model and allow no author, and no cycle has found "
            "a source; run one first"
        )
    secret = read_webhook_secret(bot_home)
    if secret is None and not dry_run:
        secret = make_webhook_secret(bot_home)
    outcome, id = registrar.register(url, watched, secret, dry_run=dry_run)
    made = Registration(outcome, dry_run, id, url, watched, missing, blind_spots(loaded))
    show_result(made, _layout_registration, as_json=as_json)


@webhook_commands.command("list")
@one_line_errors
def list_command(endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """List the webhooks of the token's account, without their secrets.

    Example: `shoal webhook list`
    """
    from bot.service.webhooks.registration import Registrar

    webhooks = Registrar(open_hub(endpoint)).list()
    if as_json:
        show_json({"webhooks": [one.as_json() for one in webhooks]})
    elif webhooks:
        typer.echo(printable("\n".join(map(_describe_webhook, webhooks))))
    else:
        typer.echo("no webhook yet: shoal webhook register URL WATCHLISTS")


@webhook_commands.command("remove")
@one_line_errors
def remove_command(
    which: Annotated[str, typer.Argument(metavar="URL", help="The URL of a webhook, or its id.")],
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Delete a webhook of the token's account; the secret stays in the home.

    Example: `shoal webhook remove https://shoal.example.org/webhook`
    """
    from bot.service.webhooks.registration import Registrar

    removed = Registrar(open_hub(endpoint)).remove(which)
    if as_json:
        show_json(removed.as_json())
    else:
        typer.echo(printable(f"removed: {_describe_webhook(removed)}"))


def _known_sources(home: Home, watchlists: Sequence[Watchlist]) -> Mapping[str, Sequence[str]]:
    """Watchlist's name → the repos that its cycles merged."""
    if not home.ledger.exists():
        return {}
    from bot.ledger.webhook_calls import known_repos

    ledger = read_ledger(home)
    try:
        return {one.name: sorted(known_repos(ledger, one.name).sources) for one in watchlists}
    finally:
        ledger.close()


def _layout_registration(made: Registration) -> Text:
    would = "would be " if made.dry_run else ""
    lines = [f"{made.url}: {would}{made.outcome}" + (f" ({made.id})" if made.id else "")]
    lines += [f"watches {one.type} {one.name}: {one.reason}" for one in made.watched]
    lines += [f"leaves out {name}: the Hub does not know it" for name in made.missing]
    lines += [f"{name}: models of other owners are found on its schedule alone" for name in made.unseen]
    if not made.dry_run:
        lines.append("`shoal serve` with --webhook or --page takes the calls from its next start")
    return Text(printable("\n".join(lines)))


def _describe_webhook(webhook: RegisteredWebhook) -> str:
    state = "disabled, " if webhook.disabled else ""
    return f"{webhook.url or 'a Job'} ({webhook.id}): {state}watches {', '.join(webhook.watched)}"
