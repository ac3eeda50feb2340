"""One cycle, from a tag on the Hub to published models: the whole way on one screen.

Each step is a function from frozen values to frozen values. Whatever takes long is kept in the ledger, so a cycle that
was killed runs again from the top and soon reaches the point where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from bot.cycle.context import CycleContext
from bot.cycle.rejections import look_up_pull_requests, refuse_rejected
from bot.cycle.resources import fit_resources
from bot.cycle.sources import (
    check_before,
    describe_equal_cycle,
    find_equal_cycle,
    prepare_judges,
    prepare_pool,
)
from bot.cycle.steps import (
    Folders,
    ask_about_pictures,
    ask_releases,
    build_eval_sets,
    compare_splits,
    draw_galleries,
    evaluate_split,
    make_worker_spec,
    pass_gate,
    read_report_split,
    recall_earlier,
    search_merges,
    write_cards,
    write_chosen,
)
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.pool.pool import Pool
from bot.ledger.decisions import rejected_recipes
from bot.ledger.ledger import Ledger, State
from bot.ledger.run_requests import settle_run_requests
from bot.progress import Narrator
from bot.release.report import write_cycle_report
from bot.release.results import CycleResults
from bot.release.review import Publisher, check_repos, release_repos
from bot.scoring.cached import CachedEvaluator
from bot.scoring.dtype_speed import describe_slow_dtype
from bot.scoring.evaluator import EvaluatorFactory
from bot.scoring.process_pool import ProcessPool
from bot.scoring.resources import Resources
from bot.search.baselines import list_baselines
from bot.search.gate import describe_refusals
from bot.search.results import AuditionSummary
from bot.search.strategies.make import make_strategy
from bot.search.strategies.strategy import SearchStrategy
from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split


def run_cycle(
    watchlist: Watchlist,
    home: Home,
    hub: Hub,
    narrator: Narrator,
    make_evaluator: EvaluatorFactory = ProcessPool,
    save: Callable[[], None] = lambda: None,
) -> str:
    """Run a cycle, or resume the interrupted one; returns its id. The caller holds the home's lock.

    make_evaluator: opens an evaluator of candidates, from what each worker is sent and the time limit per candidate.
    save: called before anything is published, so that whoever goes on elsewhere publishes the same bytes.
    """
    ledger = Ledger(home.ledger)
    cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC))
    settle_run_requests(ledger, watchlist.name)
    ledger.keep(cycle.id, "watchlist", watchlist, Watchlist)
    ledger.keep(cycle.id, "hub", hub.endpoint, str)
    context = CycleContext(watchlist, home, hub, ledger, narrator, cycle, save)
    with context.failure_recorded():
        complete_cycle(context, make_evaluator)
    return cycle.id


def complete_cycle(context: CycleContext, make_evaluator: EvaluatorFactory) -> None:
    """Take a cycle the whole way, from the first check to the report."""
    watchlist, home, hub, ledger, cycle = context.watchlist, context.home, context.hub, context.ledger, context.cycle
    # Whatever can be known to fail is checked first, because the search takes hours.
    with context.narrator.bar("checking the tasks and the token", None):
        warning = check_before(watchlist, hub)
    if warning is not None:
        context.narrator.say(f"warning: {warning}")
    look_up_pull_requests(context)
    prepare_judges(context)
    pool, folders = prepare_pool(context, make_evaluator)
    repos = release_repos(watchlist, cycle.number, pool.licence.name_prefix)
    if watchlist.publish.mode != "off":
        check_repos(hub, set(repos.values()), watchlist.publish, context.narrator)
    strategy = make_strategy(watchlist, pool)
    resources, _ = fit_resources(watchlist, strategy, pool)
    if (warning := describe_slow_dtype(watchlist.search.dtype, resources.device)) is not None:
        context.narrator.say(f"warning: {warning}")
    worker_spec = make_worker_spec(context, pool, folders, resources)
    with make_evaluator(worker_spec, watchlist.workers.timeout) as workers:
        timeout = watchlist.workers.timeout
        evaluator = CachedEvaluator(ledger, workers, lambda model: make_evaluator(worker_spec.alone(model), timeout))
        eval_sets = build_eval_sets(context, evaluator)
        if (earlier := find_equal_cycle(ledger, cycle, watchlist.publish, eval_sets)) is not None:
            context.finish(State.UNCHANGED, describe_equal_cycle(context, earlier))
            return
        results = search_and_choose(context, evaluator, strategy, pool, folders, resources)

    write_cards(context, results, repos)
    context.save()
    publisher = Publisher(hub, home, ledger, context.narrator, watchlist.publish, cycle.id)
    ending = publisher.release_or_hold(describe_refusals(results.gate_results))
    write_cycle_report(ledger, home, results, ending)
    context.finish(ending.state, ending.note)


def search_and_choose(
    context: CycleContext,
    evaluator: CachedEvaluator,
    strategy: SearchStrategy,
    pool: Pool,
    folders: Folders,
    resources: Resources,
) -> CycleResults:
    """Search, test the front, write what is chosen, and score it; one split of the items after the other."""
    watchlist = context.watchlist
    baselines = list_baselines(strategy, pool)

    # The search sees the search split alone, and what earlier cycles learned on it.
    recalled, warm = recall_earlier(context, evaluator, strategy, pool, baselines)
    search = evaluate_split(context, evaluator, Split.SEARCH, (), baselines)
    found, summary, choice = search_merges(context, evaluator, strategy, search, warm)

    # The gate and the choice use the validation split.
    front = [scored.recipe for scored in found.front]
    validation = evaluate_split(context, evaluator, Split.VALIDATION, front, baselines)
    gap = compare_splits(context, found, search, validation)
    gate_results = refuse_rejected(pass_gate(watchlist, validation), rejected_recipes(context.ledger, watchlist.name))
    chosen, gate_results = write_chosen(context, evaluator, strategy, pool, folders, gate_results, validation)

    # The report split is read once, for what was chosen: only its scores reach a card.
    report = read_report_split(context, evaluator, chosen, found, baselines)
    samples = ask_releases(context, evaluator, chosen, report)
    shown = ask_about_pictures(context, evaluator, chosen, report)
    galleries = draw_galleries(context, evaluator, chosen, report)
    return CycleResults(
        watchlist=watchlist,
        cycle=context.cycle,
        hub_url=context.hub.endpoint,
        pool=pool,
        strategy=strategy,
        resources=resources,
        summary=summary,
        front={scored.recipe.digest: (scored.recipe, scored.outcome) for scored in found.front},
        gate_results=gate_results,
        chosen=chosen,
        baselines=baselines,
        splits={Split.SEARCH: search, Split.VALIDATION: validation, Split.REPORT: report},
        samples=samples,
        shown=shown,
        galleries=galleries,
        judges={judge.repo: judge.licence for judge in context.judges},
        choice=choice,
        gap=gap,
        recalled=recalled,
        audition=context.ledger.kept(context.cycle.id, "audition", AuditionSummary),
    )
