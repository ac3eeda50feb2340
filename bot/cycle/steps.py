"""The steps of a cycle between the pool and the cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from bot.cycle.context import CycleContext
from bot.hub.judges import judge_folders
from bot.hub.pool.pool import Family, Pool
from bot.ledger.decisions import keep_documents, kept_documents
from bot.ledger.ledger import ReleaseEntry
from bot.release.card.example import choose_example_items
from bot.release.card.gallery import choose_gallery_items, draw_gallery, is_of
from bot.release.card.shown import choose_shown_items
from bot.release.card.write import write_card_files
from bot.release.evidence import write_evidence
from bot.release.folder import read_release_documents, write_missing_documents
from bot.release.results import CycleResults, Gallery, ShownItem, SplitResults
from bot.release.verify import hash_files, is_finished, is_recorded, verify_scores
from bot.release.write import write_release_folder
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Failure, own_drawing
from bot.scoring.resources import Resources
from bot.scoring.vocabulary_rows import prepare_rows
from bot.scoring.worker_spec import WorkerSpec
from bot.search.baselines import Baseline, evaluate_baselines
from bot.search.front.choice import choose_front, with_front
from bot.search.front.generalisation import measure_gap
from bot.search.gate import apply_gate
from bot.search.recall import Recall, todays_models
from bot.search.results import (
    BaselineKind,
    FrontChoice,
    GateResult,
    GeneralisationGap,
    MeasuredRow,
    RecallSummary,
    SearchSummary,
)
from bot.search.run import make_outcome, search_recipes, summarise_search
from bot.search.selection import BALANCED, Chosen, choose_releases
from bot.search.strategies.strategy import SearchStrategy
from bot.search.warm_start import COLD, WarmStart
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import EvalItem, Sample
from evaluation.splits import Split
from merging.evolution.outcomes import SearchResult
from merging.identity import ModelId
from merging.recipes.recipe import Recipe

Folders = Mapping[ModelId, Path]
"""The folders of the pool's models, as `fetch_pool` gives them."""


def make_worker_spec(context: CycleContext, pool: Family, folders: Folders, resources: Resources) -> WorkerSpec:
    """Make the specification that every worker gets."""
    watchlist = context.watchlist
    with context.narrator.bar("bringing the sources into one vocabulary", None) if pool.vocabulary else nullcontext():
        rows = prepare_rows(context.home, pool, folders)
    return WorkerSpec(
        kind=watchlist.kind,
        sources=tuple(member.ref for member in pool.read_models),
        checkpoints=tuple(folders.items()),
        config_source=pool.leader.ref,
        dtype=watchlist.search.dtype,
        skills=watchlist.asked_skills,
        task_folders=watchlist.task_paths,
        sizes=watchlist.split_sizes,
        seed=watchlist.search.seed,
        resources=resources,
        rounds=watchlist.rounds,
        vocabulary=rows,
        judges=tuple(judge_folders(context.judges, context.home.sources).items()),
        picture_size=pool.picture_size,
    )


def build_eval_sets(context: CycleContext, evaluator: CachedEvaluator) -> tuple[str, ...]:
    """Have the evaluation sets of all splits built; keeps and returns their digests.

    The digests cover everything that decides a score besides the weights.
    """
    with context.narrator.bar("building the evaluation sets", len(Split)) as advance:
        digests = []
        for split in Split:
            digests.append(evaluator.facts(split).digest)
            advance(1, "")
    context.ledger.keep(context.cycle.id, "eval_sets", tuple(digests), tuple[str, ...])
    return tuple(digests)


def evaluate_split(
    context: CycleContext,
    evaluator: CachedEvaluator,
    split: Split,
    merges: Sequence[Recipe],
    baselines: Sequence[Baseline],
) -> SplitResults:
    """Score merges, then baselines on a split."""
    scored_models = f"{len(merges)} merges and the baselines" if merges else "the baselines"
    title = f"scoring {scored_models} ({split} split)"
    with context.narrator.bar(title, len(merges) + len(baselines)) as advance:

        def on_scored() -> None:
            advance(1, "")

        scored = evaluator.evaluate(merges, split, on_scored)
        return SplitResults(
            evaluator.facts(split),
            context.watchlist.evaluation_skills,
            {evaluation.recipe.digest: evaluation for evaluation in scored},
            evaluate_baselines(evaluator, baselines, split, on_scored),
            context.watchlist.evaluation_guards if split is not Split.SEARCH else (),
            context.watchlist.gate.confidence,
        )


def recall_earlier(
    context: CycleContext,
    evaluator: CachedEvaluator,
    strategy: SearchStrategy,
    pool: Pool,
    baselines: Sequence[Baseline],
) -> tuple[RecallSummary | None, WarmStart]:
    """What the search begins with from the watchlist's earlier cycles; None and nothing where there are none."""
    cycle = context.cycle
    if not context.watchlist.search.warm_start:
        return None, COLD
    earlier = [one for one in context.ledger.cycles(cycle.watchlist) if one.number < cycle.number]
    recall = Recall(context.ledger, tuple(earlier), context.watchlist, strategy, todays_models(pool, strategy))
    recalled = recall.recalled(cycle.id, evaluator, baselines)
    for line in recalled.summary.describe():
        context.narrator.say(line)
    return recalled.summary, recall.warm_start(recalled, evaluator)


def search_merges(
    context: CycleContext,
    evaluator: CachedEvaluator,
    strategy: SearchStrategy,
    split: SplitResults,
    warm: WarmStart,
) -> tuple[SearchResult, SearchSummary, FrontChoice | None]:
    """Search on the search split, whose baselines candidates are raced against; keeps the summary.

    The choice is how a model chose the front; None where the scores themselves give it.
    """
    watchlist, ledger, narrator, cycle = context.watchlist, context.ledger, context.narrator, context.cycle.id
    if strategy.left_out:
        left_out = ", ".join(source.name for source in strategy.left_out)
        narrator.say(f"the layers of {left_out} are left out; to use them, raise search.dataflow.models")
    baselines = [evaluation for _, evaluation in split.baselines]
    found = search_recipes(watchlist, strategy, evaluator, baselines, ledger, cycle, narrator, warm)
    kept = [ledger.kept(one, FrontChoice.STAGE, FrontChoice) for one in (cycle, *warm.repeats)]
    if (choice := choose_front(found, strategy, watchlist.search_settings, kept)) is not None:
        found = with_front(found, choice)
        ledger.keep(cycle, FrontChoice.STAGE, choice, FrontChoice)
        rows = [(scored.recipe.digest, scored.point) for scored in found.front]
        ledger.record_front(cycle, found.generations[-1].index, rows)
    items = len(split.eval_set.items)
    summary = summarise_search(found, items, len(watchlist.skills))
    ledger.keep(cycle, "search", summary, SearchSummary)
    narrator.say(
        f"search: {summary.candidates} candidates, {summary.fully_scored} of them on all {items} items, "
        f"{summary.failed} failed; {summary.item_scores:,} item scores, {len(summary.front)} on the front; "
        f"{summary.stopped}"
    )
    if choice is not None:
        narrator.say(f"search: {choice.describe()}")
    return found, summary, choice


def pass_gate(watchlist: Watchlist, validation: SplitResults) -> tuple[GateResult, ...]:
    """Test every front member against the baselines, by their scores on the validation split."""
    return apply_gate(
        list(validation.merges.values()),
        [(baseline.name, evaluation) for baseline, evaluation in validation.baselines],
        validation.skills,
        dict(validation.eval_set.directions),
        watchlist.gate_settings,
        {digest: validation.guard_results(digest) for digest in validation.merges},
    )


def compare_splits(
    context: CycleContext, found: SearchResult, search: SplitResults, validation: SplitResults
) -> GeneralisationGap | None:
    """How much of what the front gains on the search split is there on the validation split; keeps it.

    None where no member of the front could be scored there.
    """
    skills, directions = validation.skills, dict(validation.eval_set.directions)
    baselines = [make_outcome(evaluation, skills, directions) for _, evaluation in search.baselines]
    gap = measure_gap(
        {scored.recipe.digest: scored.point[: len(skills)] for scored in found.front},  # depth may be one more
        {
            evaluation.recipe.digest: outcome.objectives
            for (_, evaluation), outcome in zip(search.baselines, baselines, strict=True)
            if outcome.objectives is not None
        },
        [*validation.merges.values(), *(evaluation for _, evaluation in validation.baselines)],
        skills,
        directions,
        (found.reference or ())[: len(skills)],
    )
    if gap is not None:
        context.ledger.keep(context.cycle.id, GeneralisationGap.STAGE, gap, GeneralisationGap)
        context.narrator.say(f"search: {gap.describe()}")
    return gap


def write_chosen(
    context: CycleContext,
    evaluator: CachedEvaluator,
    strategy: SearchStrategy,
    pool: Pool,
    folders: Folders,
    gate_results: Sequence[GateResult],
    validation: SplitResults,
) -> tuple[tuple[Chosen, ...], tuple[GateResult, ...]]:
    """Choose among the members that passed and write them.

    A member whose written files do not reproduce its scores is refused after all. Returns the releases, and the gate's
    results with such refusals.
    """
    watchlist, ledger, cycle = context.watchlist, context.ledger, context.cycle.id
    cost = strategy.cost
    costs = {digest: cost.of(one.recipe) for digest, one in validation.merges.items()} if cost else None
    settled = {result.recipe: result for result in gate_results}
    releases = []
    wanted = choose_releases(
        gate_results,
        watchlist.skill_names,
        watchlist.publish.max_releases,
        costs,
        cost.role if cost else BALANCED,
    )
    with context.narrator.bar("writing the releases, scoring their files", len(wanted)) as advance:
        for chosen in wanted:
            advance(0, chosen.role)
            validated = validation.merges[chosen.recipe]
            folder = context.home.release(cycle, chosen.role)
            write_release_folder(validated.recipe, folders, pool.leader.ref, folder, cycle, pool.picture_size)
            refusal = verify_scores(evaluator, folder, validated)
            if refusal is None:
                releases.append(chosen)
            else:
                settled[chosen.recipe] = replace(settled[chosen.recipe], passed=False, reason=refusal)
            advance(1, "")
    results = tuple(settled.values())
    ledger.keep(cycle, "gate", results, tuple[GateResult, ...])
    passed = sum(result.passed for result in results)
    context.narrator.say(f"gate: {passed} of {len(results)} front members passed, {len(releases)} chosen for release")
    return tuple(releases), results


def read_report_split(
    context: CycleContext,
    evaluator: CachedEvaluator,
    chosen: Sequence[Chosen],
    found: SearchResult,
    baselines: Sequence[Baseline],
) -> SplitResults:
    """Score the releases and, if there are any, the baselines on the report split.

    Nothing is chosen by these scores.
    """
    ledger, cycle = context.ledger, context.cycle.id
    ledger.drop_releases(cycle, keep=[one.role for one in chosen])
    # The ledger may have more: what was published before this cycle was interrupted stays a release.
    released = {one.recipe for one in chosen} | {entry.recipe for entry in ledger.releases(cycle)}
    recipes = [scored.recipe for scored in found.front if scored.recipe.digest in released]
    report = evaluate_split(context, evaluator, Split.REPORT, recipes, baselines if chosen else ())
    if chosen:
        ledger.keep(cycle, "measured", _measured_rows(chosen, report), tuple[MeasuredRow, ...])
    return report


def _measured_rows(chosen: Sequence[Chosen], report: SplitResults) -> tuple[MeasuredRow, ...]:
    releases = [
        MeasuredRow(one.role, "release", scores.intervals, report.guard_results(one.recipe))
        for one in chosen
        if (scores := report.merge_scores(one.recipe)) is not None
    ]
    baselines = [
        MeasuredRow(baseline.name, baseline.kind.value, scores.intervals)
        for baseline, scores in report.baseline_scores()
    ]
    return (*releases, *baselines)


def ask_releases(
    context: CycleContext, evaluator: CachedEvaluator, chosen: Sequence[Chosen], report: SplitResults
) -> dict[str, Sample]:
    """Ask each written release a report item that shows what it can do; answers by recipe digest.

    A release that cannot be asked has all its scores nevertheless, and a card without an answer. So has one whose tasks
    all have pictures, where the watchlist does not pass its tasks on.
    """
    samples: dict[str, Sample] = {}
    for one in chosen:
        folder = context.home.release(context.cycle.id, one.role)
        with_pictures = context.watchlist.publish.tasks
        items = choose_example_items(report, one.recipe, with_pictures=with_pictures).items
        if not items:
            continue
        sample = evaluator.ask(folder, items, own_drawing(report.merges[one.recipe].recipe))
        if isinstance(sample, Failure):
            context.narrator.say(f"{one.role}: could not be asked for the card's example: {sample.reason}")
        else:
            samples[one.recipe] = sample
    return samples


def ask_about_pictures(
    context: CycleContext, evaluator: CachedEvaluator, chosen: Sequence[Chosen], report: SplitResults
) -> dict[str, tuple[ShownItem, ...]]:
    """Ask releases, their base and their sources about some report items with pictures; by recipe digest.

    None where no task has pictures, or where the watchlist does not pass its tasks on.
    """
    if not context.watchlist.publish.tasks:
        return {}
    merged = [one for one, _ in report.baselines if one.kind in (BaselineKind.BASE, BaselineKind.SOURCE)]
    merged.sort(key=lambda one: one.kind is BaselineKind.SOURCE)
    known: dict[tuple[str, EvalItem], str | None] = {}
    found: dict[str, tuple[ShownItem, ...]] = {}
    for one in chosen:
        shown = []
        for item in choose_shown_items(report, one.recipe):
            release = context.home.release(context.cycle.id, one.role)
            sample = evaluator.ask(release, [item], own_drawing(report.merges[one.recipe].recipe))
            if isinstance(sample, Failure):
                context.narrator.say(f"{one.role}: could not be asked about a picture: {sample.reason}")
                continue
            for baseline in merged:
                if (baseline.name, item) not in known:
                    known[baseline.name, item] = _ask_baseline(evaluator, baseline, item)
            others = [(baseline.name, baseline.kind, known[baseline.name, item]) for baseline in merged]
            shown.append(ShownItem(sample.question, ((one.role, BaselineKind.RELEASE, sample.answer), *others)))
        found[one.recipe] = tuple(shown)
    return found


def _ask_baseline(evaluator: CachedEvaluator, baseline: Baseline, item: EvalItem) -> str | None:
    with evaluator.alone(baseline.alone) if baseline.alone else nullcontext(evaluator) as asked:
        answer = asked.ask_candidate(baseline.recipe, item)
    return None if isinstance(answer, Failure) else answer.answer


def draw_galleries(
    context: CycleContext, evaluator: CachedEvaluator, chosen: Sequence[Chosen], report: SplitResults
) -> dict[str, Gallery]:
    """Have releases, and the models beside them, draw some report items again, and keep that; by recipe digest.

    None where models answer in words, or where the watchlist does not pass its tasks on.
    """
    if not context.watchlist.publish.tasks or not choose_gallery_items(report):
        return {}
    found: dict[str, Gallery] = {}
    with context.narrator.bar("drawing the pictures of the cards", len(chosen)) as advance:
        for one in chosen:
            stage, recipe = f"gallery {one.role}", report.merges[one.recipe].recipe
            kept = context.ledger.kept(context.cycle.id, stage, Gallery)
            if kept is not None and is_of(kept, report, recipe):
                gallery: Gallery | Failure = kept
            else:
                gallery = draw_gallery(evaluator, report, recipe)
            if isinstance(gallery, Failure):
                context.narrator.say(f"{one.role}: could not draw the pictures of its card: {gallery.reason}")
            else:
                context.ledger.keep(context.cycle.id, stage, gallery, Gallery)
                found[one.recipe] = gallery
            advance(1, one.role)
    return found


def write_cards(context: CycleContext, results: CycleResults, repos: Mapping[str, str]) -> None:
    """Write the evidence and the card of every release that is not finished yet, and record its files' hashes."""
    ledger, home, cycle = context.ledger, context.home, context.cycle.id
    for chosen in results.chosen:
        repo, folder = repos[chosen.role], home.release(cycle, chosen.role)
        if is_recorded(ledger.releases(cycle), chosen, repo):  # in a new home its card is not written anew
            write_missing_documents(folder, kept_documents(ledger, cycle, chosen.role))
        if not is_finished(ledger.releases(cycle), chosen, repo, folder):
            for line in write_evidence(results, chosen.recipe, folder):
                context.narrator.say(f"{chosen.role}: left out of the release: {line}")
            write_card_files(results, chosen, repos, folder)
            entry = ReleaseEntry(cycle, chosen.role, chosen.recipe, repo, hash_files(folder))
            keep_documents(ledger, cycle, chosen.role, read_release_documents(folder, entry.files))
            ledger.record_release(entry, None)
