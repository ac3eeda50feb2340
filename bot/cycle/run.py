"""One cycle, from a tag on the Hub to published models: the whole way on one screen.

Each step is a function from frozen values to frozen values. What costs time is in the ledger, so a cycle that was
killed anywhere is run again from the top and comes quickly to where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bot.context import CycleContext, now
from bot.cycle.sources import check_before, done_before, stock
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.pool import Pool
from bot.ledger.ledger import Ledger, ReleaseEntry, State
from bot.progress import Narrator
from bot.release import write as release_folder
from bot.release.card.collect import CycleResults, measure, write_card_files, write_cycle_report
from bot.release.review import check_names, release_or_hold, release_repo, require_waiting, upload_all
from bot.scoring.cached import CachedEvaluator, directions
from bot.scoring.process_pool import ProcessPool
from bot.scoring.resources import Resources, choose_device, inspect_machine, plan_resources
from bot.scoring.worker import WorkerSpec
from bot.search import run as search_run
from bot.search.gate import GateSettings, apply_gate
from bot.search.results import GateResult, MeasuredRow, SearchSummary
from bot.search.selection import Chosen, choose
from bot.search.spaces import Spaces, candidate_bytes, depth, make_spaces
from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split, SplitSizes
from merging.evolution.evolve import SearchResult
from merging.recipes.weight_merge import ModelId

Folders = Mapping[ModelId, Path]


def run_cycle(watchlist: Watchlist, home: Home, hub: Hub, narrator: Narrator) -> str:
    """Run a cycle, or go on with the interrupted one; returns its id. The caller holds the home's lock."""
    ledger = Ledger(home.ledger)
    with narrator.bar("checking the tasks and the token", None):
        check_before(watchlist, hub)
    begun = ledger.begin(watchlist.name, watchlist.digest, now())
    context = CycleContext(watchlist, home, hub, ledger, narrator, begun.id, begun.number)
    ledger.keep(begun.id, "watchlist", watchlist, Watchlist)

    pool, folders = stock(context)
    check_names(context, pool.licence.name_prefix)
    spaces = make_spaces(watchlist, pool)
    machine = inspect_machine(watchlist.workers.device)
    needed = candidate_bytes(spaces, pool, watchlist.search.dtype, choose_device(machine, watchlist.workers))
    resources = plan_resources(machine, needed, watchlist.workers)
    with ProcessPool(worker_spec(watchlist, pool, folders, resources), watchlist.workers.timeout) as workers:
        evaluator = CachedEvaluator(ledger, workers, resources.workers)
        if (earlier := done_before(context, build_eval_sets(context, evaluator))) is not None:
            context.finish(State.UNCHANGED, f"the same sources, tasks and watchlist as {earlier}")
            return begun.id
        found = breed(context, evaluator, spaces, pool)
        gate_results = pass_gate(context, evaluator, spaces, pool, found)
        chosen, gate_results = write_chosen(context, evaluator, spaces, pool, folders, gate_results, found)
        results = CycleResults(pool, spaces, found, gate_results, chosen, resources)
        write_cards(context, evaluator, results)
    ending = release_or_hold(context)
    write_cycle_report(context, evaluator, results, ending)
    context.finish(ending.state, ending.note)
    return begun.id


def publish_waiting(ledger: Ledger, home: Home, hub: Hub, cycle: str, narrator: Narrator) -> None:
    """Send off the releases of a cycle that waits for a person; those that are there already are not sent again."""
    require_waiting(ledger, home, cycle)
    if all(release.commit for release in ledger.releases(cycle)):
        narrator.say(f"{cycle}: published already, nothing waits")
        return
    watchlist = ledger.kept(cycle, "watchlist", Watchlist)
    assert watchlist is not None  # kept before anything else of the cycle
    if watchlist.publish.namespace is not None:
        hub.check_can_write(watchlist.publish.namespace)
    context = CycleContext(watchlist, home, hub, ledger, narrator, cycle, ledger.cycle(cycle).number)
    ending = upload_all(context)
    context.finish(ending.state, ending.note)


def worker_spec(watchlist: Watchlist, pool: Pool, folders: Folders, resources: Resources) -> WorkerSpec:
    """What each worker is sent."""
    items = watchlist.items
    return WorkerSpec(
        checkpoints=tuple(folders.items()),
        config_source=config_source(pool),
        dtype=watchlist.search.dtype,
        skills=search_run.evaluation_skills(watchlist),
        task_folders=tuple(Path(folder) for folder in watchlist.task_folders),
        sizes=SplitSizes(items.search, items.validation, items.report),
        seed=watchlist.search.seed,
        resources=resources,
        rounds=watchlist.search.racing.rounds if watchlist.search.racing else 1,
    )


def config_source(pool: Pool) -> ModelId:
    """Whose config, tokenizer and chat template a merge has: the best source's, for bases seldom have a template."""
    return pool.sources[0].ref


def build_eval_sets(context: CycleContext, evaluator: CachedEvaluator) -> tuple[str, ...]:
    """Have all three exams written, keep and return their digests: of all that decides scores beside the weights."""
    with context.narrator.bar("writing the exams", len(Split)) as advance:
        digests = []
        for split in Split:
            digests.append(evaluator.eval_set(split).digest)
            advance(1, "")
    context.ledger.keep(context.cycle, "exams", tuple(digests), tuple[str, ...])
    return tuple(digests)


def breed(context: CycleContext, evaluator: CachedEvaluator, spaces: Spaces, pool: Pool) -> SearchResult:
    """Search on the search split, the rivals' scores beside it, and keep the summary."""
    eval_set = evaluator.eval_set(Split.SEARCH)
    if spaces.left_out:
        left_out = ", ".join(source.repo for source in spaces.left_out)
        context.narrator.say(f"left out: the layers of {left_out}: raise search.dataflow.models")
    baselines = [
        sat for _, sat in search_run.evaluate_baselines(evaluator, search_run.baselines(spaces, pool), Split.SEARCH)
    ]
    found = search_run.search(
        context.watchlist, spaces, evaluator, baselines, context.ledger, context.cycle, context.narrator
    )
    summary = search_run.summarise(found, len(eval_set.items), len(context.watchlist.skills))
    context.ledger.keep(context.cycle, "search", summary, SearchSummary)
    context.narrator.say(
        f"search: {summary.candidates} candidates, {summary.fully_scored} of them on all {len(eval_set.items)} items, "
        f"{summary.failed} failed; {summary.item_scores:,} item scores, {len(summary.front)} on the front; "
        f"{summary.stopped}"
    )
    return found


def pass_gate(
    context: CycleContext, evaluator: CachedEvaluator, spaces: Spaces, pool: Pool, found: SearchResult
) -> tuple[GateResult, ...]:
    """Score the front and its rivals on the validation split, and apply the gate's rule."""
    gate = context.watchlist.gate
    recipes = [scored.recipe for scored in found.front]
    with context.narrator.bar("validating the front", len(recipes)) as advance:
        members = evaluator.evaluate(recipes, Split.VALIDATION, lambda: advance(1, ""))
    standing = search_run.evaluate_baselines(evaluator, search_run.baselines(spaces, pool), Split.VALIDATION)
    return apply_gate(
        members,
        [(baseline.name, sat) for baseline, sat in standing],
        search_run.evaluation_skills(context.watchlist),
        directions(evaluator.eval_set(Split.VALIDATION)),
        GateSettings(gate.confidence, gate.minimum, gate.max_degenerate),
    )


def write_chosen(
    context: CycleContext,
    evaluator: CachedEvaluator,
    spaces: Spaces,
    pool: Pool,
    folders: Folders,
    gate_results: Sequence[GateResult],
    found: SearchResult,
) -> tuple[tuple[Chosen, ...], tuple[GateResult, ...]]:
    """Write the chosen members; one whose written files do not reproduce its scores is refused, with the reason."""
    recipes = {scored.recipe.digest: scored.recipe for scored in found.front}
    skills, limit = [skill.name for skill in context.watchlist.skills], context.watchlist.publish.max_releases
    depths = {digest: depth(recipe) for digest, recipe in recipes.items()} if spaces.smaller else None
    settled = {gate_result.recipe: gate_result for gate_result in gate_results}
    kept = []
    for chosen in choose(gate_results, skills, limit, depths):
        recipe = recipes[chosen.recipe]
        target = context.home.release(context.cycle, chosen.role)
        release_folder.write(recipe, folders, config_source(pool), target, context.cycle)
        (sat,) = evaluator.evaluate([recipe], Split.VALIDATION)
        refusal = release_folder.confirm(evaluator, target, sat)
        if refusal is None:
            kept.append(chosen)
        else:
            settled[chosen.recipe] = replace(settled[chosen.recipe], passed=False, reason=refusal)
    context.ledger.keep(context.cycle, "gate", tuple(settled.values()), tuple[GateResult, ...])
    passed = sum(gate_result.passed for gate_result in settled.values())
    context.narrator.say(f"gate: {passed} of {len(settled)} front members passed, {len(kept)} chosen for release")
    return tuple(kept), tuple(settled.values())


def write_cards(context: CycleContext, evaluator: CachedEvaluator, results: CycleResults) -> None:
    """Measure the chosen on the report split, write their cards, and record the finished releases."""
    context.ledger.drop_releases(context.cycle, but=[chosen.role for chosen in results.chosen])
    if not results.chosen:
        return
    context.ledger.keep(context.cycle, "measured", measure(context, evaluator, results), tuple[MeasuredRow, ...])
    for chosen in results.chosen:
        repo = release_repo(context, chosen.role, results.pool.licence.name_prefix)
        folder = context.home.release(context.cycle, chosen.role)
        if release_folder.is_finished(context.ledger.releases(context.cycle), chosen, repo, folder):
            continue
        write_card_files(context, evaluator, results, chosen, repo, folder)
        entry = ReleaseEntry(context.cycle, chosen.role, chosen.recipe, repo, release_folder.hashes(folder))
        context.ledger.record_release(entry, None)
