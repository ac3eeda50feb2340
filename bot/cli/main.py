"""The command line: `shoal …`. Heavy imports wait inside the commands, so that --help and check answer at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bot.cli.command import (
    AsJson,
    CycleId,
    Endpoint,
    HomePath,
    Terminated,
    WatchlistPath,
    one_line_errors,
    open_hub,
    prepare_client,
    quiet_libraries,
    show_json,
    show_page,
    size_in_bytes,
    terminal_narrator,
)
from bot.errors import ShoalError
from bot.home import Home, find_home
from bot.watchlist.watchlist import Watchlist, load

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


@app.command()
@one_line_errors
def check(watchlist: WatchlistPath, as_json: AsJson = False) -> None:
    """Validate a watchlist without touching the network.

    Example: `shoal check watchlists/demo.yml`
    """
    loaded = load(watchlist)
    if as_json:
        show_json({"watchlist": loaded.name, "digest": loaded.digest, "valid": True})
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
    loaded, client = load(watchlist), open_hub(endpoint)
    with terminal_narrator().bar("looking", None) as advance:
        from bot.cli import pages as terminal
        from bot.cycle.dry_run import make_plan

        made = make_plan(client, loaded, datetime.now(UTC), lambda words: advance(0, words))
    if as_json:
        show_json(made.as_json())
    else:
        show_page(terminal.plan_page(made))
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

    loaded, place, client, narrator = load(watchlist), find_home(home), open_hub(endpoint), terminal_narrator()
    with hold(place):
        with narrator.bar("starting", None):
            from bot.cycle.run import run_cycle
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
    from bot.service.scheduler import serve as serve_schedule

    place, client, narrator = find_home(home), open_hub(endpoint), terminal_narrator()

    def run_one(loaded: Watchlist) -> None:
        from bot.cycle.run import run_cycle

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
    from bot.cli import pages as terminal
    from bot.cycle.history import cycle_rows

    rows = cycle_rows(_ledger(find_home(home)))
    if as_json:
        show_json([row.as_json() for row in rows])
    else:
        show_page(terminal.status_page(rows))


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

    place, client, narrator = find_home(home), open_hub(endpoint), terminal_narrator()
    ledger = _ledger(place)
    with hold(place):
        with narrator.bar("starting", None):
            from bot.cycle.run import publish_waiting
        publish_waiting(ledger, place, client, cycle, narrator)
    _show(place, cycle, as_json)


@app.command()
@one_line_errors
def merge(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A merge in mergekit's format, a YAML file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder for the merged model.")],
    check_only: Annotated[
        bool, typer.Option("--check", "--dry-run", help="Show faults and the plan; fetch and write nothing.")
    ] = False,
    max_shard_size: Annotated[str, typer.Option(help="Weights beyond this go to several files.")] = "5GB",
    seed: Annotated[int, typer.Option("--seed", "--random-seed", help="Of methods that draw random numbers.")] = 0,
    threads: Annotated[
        int | None, typer.Option("--threads", "--num-threads", "-j", help="Processor threads to use.", min=1)
    ] = None,
    home: HomePath = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Merge models as a mergekit YAML file says.

    Models are folders, as seen from here or from the file, and repos of the Hub. All that can be known without
    their weights is checked before anything is downloaded. OUT appears when it is complete, or not at all.

    Example: `shoal merge slerp.yml ./merged`
    """
    shard_bytes, client, narrator = (
        size_in_bytes("--max-shard-size", max_shard_size),
        open_hub(endpoint),
        terminal_narrator(),
    )
    with narrator.bar("starting", None):
        from bot.merge_command.merge import Merger
        from bot.merge_command.page import merge_page
        from merging.models.transformers_cache import set_cache_dir
    place = find_home(home)
    if not check_only:  # a check writes nothing at all
        set_cache_dir(place.answers)
    merger = Merger(place, client, narrator, shard_bytes, seed, threads)
    merged = merger.check(recipe, out) if check_only else merger.merge(recipe, out)
    if as_json:
        show_json(merged.as_json())
    else:
        show_page(merge_page(merged))


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
    from bot.service.local_hub import serve_folder

    narrator = terminal_narrator()
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
    space: Annotated[
        Literal["parameter", "dataflow", "both"],
        typer.Option(help="What is bred: mixtures of weights, paths through layers, or paths after mixtures."),
    ] = "parameter",
    as_json: AsJson = False,
) -> None:
    """The whole bot once, on a Hub of its own; takes two minutes.

    The Hub holds three tiny models that are worth merging, and decoys: one for each reason to refuse a model.

    Example: `shoal demo --space both`
    """
    prepare_client(local=True)
    folder, narrator = folder.absolute(), terminal_narrator()
    with narrator.bar("starting", None):
        from bot.demo import how_to_read_on, run_demo
    cycle = run_demo(folder, narrator, space)
    _print_result(Home(folder / "home"), cycle, as_json)
    narrator.say(how_to_read_on(folder, cycle))


def main() -> None:
    """The console script."""
    quiet_libraries()
    app()


def _ledger(home: Home) -> Any:
    from bot.ledger.ledger import Ledger

    if not home.ledger.exists():
        raise ShoalError(f"{home.folder}: no ledger here yet; run a watchlist first, or name the right --home")
    return Ledger(home.ledger)


def _cycle_page(home: Home, cycle: str) -> Any:
    from bot.cycle.history import cycle_page

    return cycle_page(_ledger(home), home, cycle)


def _print_result(home: Home, cycle: str, as_json: bool) -> None:
    from bot.cli import pages as terminal

    page = _cycle_page(home, cycle)
    if as_json:
        show_json(page.as_json())
    else:
        show_page(terminal.result_page(page))


def _show(home: Home, cycle: str, as_json: bool) -> None:
    from bot.cli import pages as terminal

    page = _cycle_page(home, cycle)
    if as_json:
        show_json(page.as_json())
    else:
        show_page(terminal.cycle_page(page))


if __name__ == "__main__":
    main()
