"""The command line: `shoal …`. Heavy imports wait inside the commands, so that --help and check answer at once."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bot.errors import ShoalError
from bot.home import Home, find_home
from bot.watchlist.model import Watchlist, load
from evaluation.errors import EvaluationError
from merging.errors import MergingError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

app = typer.Typer(
    name="shoal",
    help="Watches the Hugging Face Hub for models, breeds merges of them, and publishes those worth having.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

WatchlistPath = Annotated[Path, typer.Argument(metavar="WATCHLIST", help="A watchlist, a YAML file.")]
CycleId = Annotated[str, typer.Argument(metavar="CYCLE", help="A cycle's id, as `shoal status` shows it.")]
HomePath = Annotated[
    Path | None,
    typer.Option("--home", help="The bot's folder; else SHOAL_HOME, else ~/.shoal.", show_default=False),
]
Endpoint = Annotated[
    str | None,
    typer.Option("--endpoint", help="The Hub to talk to; else HF_ENDPOINT, else the real one.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The only place where an error becomes a line for a person and an exit status."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ShoalError, MergingError, EvaluationError) as error:
            _fail(str(error))
        except KeyboardInterrupt:
            _fail("interrupted; nothing is lost: the same command goes on where it stopped", INTERRUPTED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            _fail(
                f"{error.filename or 'writing'}: {error.strerror}; make room, or choose another --home, then run again"
            )

    return run


@app.command()
@one_line_errors
def check(watchlist: WatchlistPath, as_json: AsJson = False) -> None:
    """Validate a watchlist without touching the network.

    Example: `shoal check watchlists/demo.yml`
    """
    loaded = load(watchlist)
    if as_json:
        _print_json({"watchlist": loaded.name, "digest": loaded.digest, "valid": True})
    else:
        due = f"{loaded.schedule.cron} {loaded.schedule.timezone}" if loaded.schedule else "by hand"
        skills = ", ".join(skill.name for skill in loaded.skills)
        _out().print(
            f"{watchlist}: fine. {loaded.name}: skills {skills}; {loaded.search.method}; runs {due}",
            highlight=False,
        )


@app.command()
@one_line_errors
def plan(watchlist: WatchlistPath, endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """Show what a run would find, download and cost; touches nothing.

    Example: `shoal plan watchlists/laptop-360m.yml`
    """
    from bot import terminal
    from bot.plan import make_plan

    loaded = load(watchlist)
    made = make_plan(_hub(endpoint), loaded, datetime.now(UTC))
    if as_json:
        _print_json(made.as_json())
    else:
        _out().print(terminal.plan_page(made))
    if made.refusal is not None:
        raise ShoalError(made.refusal)


@app.command()
@one_line_errors
def run(watchlist: WatchlistPath, home: HomePath = None, endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """Run one cycle: find, merge, score, choose, publish. Goes on with an interrupted one.

    Example: `shoal run watchlists/demo.yml --home ./shoal-home`
    """
    loaded = load(watchlist)
    from bot.cycle import run_cycle
    from bot.lock import hold

    place = find_home(home)
    with hold(place):
        cycle = run_cycle(loaded, place, _hub(endpoint), _narrator())
    _print_result(place, cycle, as_json)


@app.command()
@one_line_errors
def serve(
    watchlists: Annotated[list[Path], typer.Argument(metavar="WATCHLIST...", help="Watchlists with a schedule.")],
    home: HomePath = None,
    endpoint: Endpoint = None,
) -> None:
    """Run watchlists at their cron strings until SIGTERM; one cycle at a time.

    Example: `shoal serve watchlists/*.yml`
    """
    from bot.cycle import run_cycle
    from bot.serve import serve as serve_schedule

    place, client, narrator = find_home(home), _hub(endpoint), _narrator()

    def run_one(loaded: Watchlist) -> None:
        run_cycle(loaded, place, client, narrator)

    serve_schedule(watchlists, place, run_one, narrator)


@app.command()
@one_line_errors
def status(home: HomePath = None, as_json: AsJson = False) -> None:
    """List the cycles, newest first, and the releases.

    Example: `shoal status`
    """
    from bot import terminal
    from bot.overview import cycle_rows

    rows = cycle_rows(_ledger(find_home(home)))
    if as_json:
        _print_json([row.as_json() for row in rows])
    else:
        _out().print(terminal.status_page(rows))


@app.command()
@one_line_errors
def show(cycle: CycleId, home: HomePath = None, as_json: AsJson = False) -> None:
    """Show one cycle: candidates with reasons, the front, the gate, the releases.

    Example: `shoal show tiny-math-1`
    """
    _show(find_home(home), cycle, as_json)


@app.command()
@one_line_errors
def publish(cycle: CycleId, home: HomePath = None, endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """Upload the releases of a cycle that waits for review.

    Example: `shoal publish tiny-math-1`
    """
    from bot.cycle import publish_waiting
    from bot.lock import hold

    place = find_home(home)
    with hold(place):
        publish_waiting(_ledger(place), place, _hub(endpoint), cycle, _narrator())
    _show(place, cycle, as_json)


@app.command()
@one_line_errors
def hub(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the Hub keeps its repos; made if needed.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8300,
) -> None:
    """Serve a Hub on this machine from a folder: for rehearsals, air-gapped use and reading the demo's cards.

    Example: `shoal hub ./hub --port 8300`
    """
    from bot.local_hub import serve_folder

    serve_folder(folder, host, port, _narrator())


@app.command()
@one_line_errors
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo keeps its Hub and its home.")] = Path(
        "shoal-demo"
    ),
    as_json: AsJson = False,
) -> None:
    """The whole bot once, on a Hub of its own with tiny specialists; takes about two minutes.

    Example: `shoal demo`
    """
    _prepare_client(local=True)
    from bot.demo import how_to_read_on, run_demo

    folder = folder.absolute()
    narrator = _narrator()
    cycle = run_demo(folder, narrator)
    _print_result(Home(folder / "home"), cycle, as_json)
    narrator.say(how_to_read_on(folder, cycle))


def main() -> None:
    """The console script."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    app()


def _hub(endpoint: str | None) -> Any:
    address = endpoint or os.environ.get("HF_ENDPOINT")
    _prepare_client(local=address is not None and "huggingface.co" not in address)
    from bot.hub import Hub

    return Hub(address)


def _prepare_client(*, local: bool) -> None:
    """Set what the Hub's client reads once, when it is imported.

    A Hub without Xet storage takes uploads only from a client that is told so. The client's own bars are for
    large files on a terminal.
    """
    if local:
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    if local or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _ledger(home: Home) -> Any:
    from bot.ledger.book import Ledger

    if not home.ledger.exists():
        raise ShoalError(f"{home.folder}: no ledger here yet; run a watchlist first, or name the right --home")
    return Ledger(home.ledger)


def _cycle_page(home: Home, cycle: str) -> Any:
    from bot.overview import cycle_page

    return cycle_page(_ledger(home), home, cycle)


def _print_result(home: Home, cycle: str, as_json: bool) -> None:
    from bot import terminal

    page = _cycle_page(home, cycle)
    if as_json:
        _print_json(page.as_json())
    else:
        _out().print(terminal.result_page(page))


def _show(home: Home, cycle: str, as_json: bool) -> None:
    from bot import terminal

    page = _cycle_page(home, cycle)
    if as_json:
        _print_json(page.as_json())
    else:
        _out().print(terminal.cycle_page(page))


def _narrator() -> Any:
    from bot.progress import TerminalNarrator

    return TerminalNarrator(Console(stderr=True))


def _out() -> Console:
    return Console(soft_wrap=not sys.stdout.isatty())


def _print_json(value: Mapping[str, Any] | list[Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _fail(message: str, status: int = 1) -> None:
    for line in message.splitlines():
        typer.echo(f"shoal: {line}", err=True)
    raise typer.Exit(status)
