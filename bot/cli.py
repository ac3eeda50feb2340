"""The command line: `shoal …`. Heavy imports wait inside the commands, so that --help and check answer at once."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from bot.errors import EXPECTED, ShoalError, told
from bot.home import Home, find_home
from bot.watchlist.model import Watchlist, load

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after Ctrl-C and after SIGTERM, as shells have them; `serve` and `hub`, which nothing else ends
in good order, end with 0 on SIGTERM."""

WIDE = 10_000
"""Columns where there is no terminal: there a line is a line, for grep and its kin."""

app = typer.Typer(
    name="shoal",
    help="Watches the Hugging Face Hub for models, breeds merges of them, and publishes those worth having.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog="Exit status: 0 done, 1 a fault told in a line, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM (`serve`, `hub`: 0).",
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


class Terminated(KeyboardInterrupt):
    """SIGTERM: whatever is under way stops as it does at Ctrl-C."""


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The only place where an error becomes a line for a person and an exit status."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            command(*args, **kwargs)
        except EXPECTED as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of a pipe has seen enough; typer knows
            _fail(told(error))
        except Terminated:
            _fail("stopped; nothing is lost: the same command goes on where it stopped", TERMINATED)
        except KeyboardInterrupt:
            _fail("interrupted; nothing is lost: the same command goes on where it stopped", INTERRUPTED)

    return run


def _terminate(_number: int, _frame: Any) -> None:
    # Once is enough: a second one must not break into the putting away of workers and locks.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


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
        typer.echo(f"{watchlist}: fine. {loaded.name}: skills {skills}; {loaded.search.method}; runs {due}")


@app.command()
@one_line_errors
def plan(watchlist: WatchlistPath, endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """Show what a run would find, download and cost; touches nothing.

    Example: `shoal plan watchlists/laptop-360m.yml`
    """
    loaded, client = load(watchlist), _hub(endpoint)
    with _narrator().bar("looking", None) as advance:
        from bot import terminal
        from bot.plan import make_plan

        made = make_plan(client, loaded, datetime.now(UTC), lambda words: advance(0, words))
    if as_json:
        _print_json(made.as_json())
    else:
        _print(terminal.plan_page(made))
    if made.refusal is not None:
        raise ShoalError(made.refusal)


@app.command()
@one_line_errors
def run(watchlist: WatchlistPath, home: HomePath = None, endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """Run one cycle, or go on with an interrupted one.

    It finds models, merges and scores them, chooses the best and publishes them as the watchlist says. Stopped
    anywhere, the same command goes on where it stopped.

    Example: `shoal run watchlists/demo.yml --home ./shoal-home`
    """
    from bot.lock import hold

    loaded, place, client, narrator = load(watchlist), find_home(home), _hub(endpoint), _narrator()
    with hold(place):
        with narrator.bar("starting", None):
            from bot.cycle import run_cycle
        cycle = run_cycle(loaded, place, client, narrator)
    _print_result(place, cycle, as_json)


@app.command()
@one_line_errors
def serve(
    watchlists: Annotated[list[Path], typer.Argument(metavar="WATCHLISTS", help="Watchlists with a schedule.")],
    home: HomePath = None,
    endpoint: Endpoint = None,
) -> None:
    """Run watchlists at their cron strings until SIGTERM.

    Cycles run one at a time, in the order in which they were due; a run that was missed is made up for once, and
    an interrupted cycle is gone on with at the start. SIGTERM stops a cycle anywhere and ends with status 0.

    Example: `shoal serve watchlists/*.yml`
    """
    from bot.serve import serve as serve_schedule

    place, client, narrator = find_home(home), _hub(endpoint), _narrator()

    def run_one(loaded: Watchlist) -> None:
        from bot.cycle import run_cycle

        run_cycle(loaded, place, client, narrator)

    try:
        serve_schedule(watchlists, place, run_one, narrator)
    except Terminated:
        narrator.say("stopped")


@app.command()
@one_line_errors
def status(home: HomePath = None, as_json: AsJson = False) -> None:
    """List the cycles, newest first.

    Example: `shoal status`
    """
    from bot import terminal
    from bot.overview import cycle_rows

    rows = cycle_rows(_ledger(find_home(home)))
    if as_json:
        _print_json([row.as_json() for row in rows])
    else:
        _print(terminal.status_page(rows))


@app.command()
@one_line_errors
def show(cycle: CycleId, home: HomePath = None, as_json: AsJson = False) -> None:
    """Show one cycle: candidates with reasons, search, gate, releases.

    Example: `shoal show tiny-math-1`
    """
    _show(find_home(home), cycle, as_json)


@app.command()
@one_line_errors
def publish(cycle: CycleId, home: HomePath = None, endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """Upload the releases of a cycle that waits for review.

    Example: `shoal publish tiny-math-1`
    """
    from bot.lock import hold

    place, client, narrator = find_home(home), _hub(endpoint), _narrator()
    ledger = _ledger(place)
    with hold(place):
        with narrator.bar("starting", None):
            from bot.cycle import publish_waiting
        publish_waiting(ledger, place, client, cycle, narrator)
    _show(place, cycle, as_json)


@app.command()
@one_line_errors
def hub(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the Hub keeps its repos; made if needed.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8300,
) -> None:
    """Serve a Hub on this machine from a folder.

    For rehearsals, air-gapped use, and reading the demo's cards. The first start makes an account that may write
    everywhere and shows its token, once. Ctrl-C and SIGTERM end it, with status 0.

    Example: `shoal hub ./hub --port 8300`
    """
    from bot.local_hub import serve_folder

    narrator = _narrator()
    try:
        serve_folder(folder, host, port, narrator)
    except KeyboardInterrupt:
        narrator.say("stopped")


@app.command()
@one_line_errors
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo keeps its Hub and its home.")] = Path(
        "shoal-demo"
    ),
    as_json: AsJson = False,
) -> None:
    """The whole bot once, on a Hub of its own; takes two minutes.

    The Hub holds three tiny models that are worth merging, and decoys: one for each reason to refuse a model.

    Example: `shoal demo`
    """
    _prepare_client(local=True)
    folder, narrator = folder.absolute(), _narrator()
    with narrator.bar("starting", None):
        from bot.demo import how_to_read_on, run_demo
    cycle = run_demo(folder, narrator)
    _print_result(Home(folder / "home"), cycle, as_json)
    narrator.say(how_to_read_on(folder, cycle))


def main() -> None:
    """The console script."""
    _quiet()
    app()


def _quiet() -> None:
    """What libraries have to say below an error is not for the person who runs the bot (-W and PYTHON* still rule)."""
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    for library in ("HF_HUB", "TRANSFORMERS", "DATASETS"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for the workers


def _hub(endpoint: str | None) -> Any:
    address = _address(endpoint)
    _prepare_client(local=address is not None and "huggingface.co" not in address)
    from bot.hub import Hub

    return Hub(address)


def _address(endpoint: str | None) -> str | None:
    """The Hub's address, from the option or the environment; None: the client's own default."""
    key, given = ("--endpoint", endpoint) if endpoint else ("HF_ENDPOINT", os.environ.get("HF_ENDPOINT"))
    if not given:
        return None
    try:
        parts = urlsplit(given)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ShoalError(f"{key}: got {given!r}: is not a Hub's address; write one such as http://127.0.0.1:8300")
    return given.rstrip("/")


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
        _print(terminal.result_page(page))


def _show(home: Home, cycle: str, as_json: bool) -> None:
    from bot import terminal

    page = _cycle_page(home, cycle)
    if as_json:
        _print_json(page.as_json())
    else:
        _print(terminal.cycle_page(page))


def _narrator() -> Any:
    from bot.progress import TerminalNarrator

    return TerminalNarrator(Console(stderr=True))


def _print(page: Any) -> None:
    """Show a page on standard output: as wide as the terminal, or with whole lines where there is none."""
    if sys.stdout.isatty():
        Console().print(page)
        return
    text = io.StringIO()
    Console(file=text, width=WIDE).print(page)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _print_json(value: Mapping[str, Any] | list[Any]) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _fail(message: str, status: int = 1) -> None:
    from bot.progress import printable

    for line in printable(message).splitlines():
        typer.echo(f"shoal: {line}", err=True)
    raise typer.Exit(status)


if __name__ == "__main__":
    main()
