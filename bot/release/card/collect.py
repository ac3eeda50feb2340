"""Collects the facts of a release's card from a cycle's results."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.errors import ShoalError
from bot.hub.pool.pool import Pool
from bot.release.card.example import choose_example_items, example_facts
from bot.release.card.facts import (
    AnswerCounts,
    AuditionFacts,
    BaselineScores,
    CardFacts,
    ExampleFacts,
    GuardFacts,
    ItemCounts,
    SearchFacts,
    SelectionFacts,
    SkillFacts,
    TaskFacts,
)
from bot.release.card.gallery import grid_facts
from bot.release.card.picture_facts import NO_LICENCES, Licences, count_pictures, drawn_facts, effort_facts
from bot.release.card.recipes import (
    base_facts,
    conversion_facts,
    cost_facts,
    last_stage_facts,
    recipe_facts,
    sources_facts,
    token_sources_facts,
)
from bot.release.card.shown import shown_facts
from bot.release.results import CycleResults, SplitResults
from bot.release.scores import SEED, ModelScores
from bot.release.verify import hash_files
from bot.release.write import package_versions
from bot.scoring.evaluator import own_drawing
from bot.search.gate import RULE
from bot.search.results import AuditionSummary, BaselineKind
from bot.search.selection import FASTEST, SMALLEST, Chosen
from evaluation.answers.ask import MAX_TOKENS
from evaluation.answers.degenerate import CUT_OFF, EMPTY, LOOPING, NO_LANGUAGE, OTHER_LANGUAGE
from evaluation.eval_set import AS_TASKS_SAY, DrawingSettings, OwnDrawing, TaskDescription
from evaluation.scores import ItemScore
from evaluation.splits import Split
from evaluation.statistics.intervals import score_interval
from merging.kinds import KINDS
from merging.kinds.kind import ModelKind
from merging.recipes.recipe import Recipe
from merging.writing.companions import RECIPE_NAME


def card_facts(results: CycleResults, chosen: Chosen, repos: Mapping[str, str], folder: Path) -> CardFacts:
    """Everything that the card of one release says. repos: role → repo; folder: the written release."""
    report, watchlist, pool = results.splits[Split.REPORT], results.watchlist, results.pool
    own = report.merge_scores(chosen.recipe)
    if own is None:
        raise ShoalError(f"{chosen.role}: could not be scored on the report split; run the cycle again")
    recipe = results.recipe(chosen.recipe)
    cost = cost_facts(recipe, pool, folder)
    releases = {repos[one.role]: results.recipe(one.recipe) for one in results.chosen}
    return CardFacts(
        repo=repos[chosen.role],
        tag=results.cycle.id,
        hub_url=results.hub_url,
        watchlist=watchlist.name,
        cycle=results.cycle.id,
        date=results.cycle.started.date().isoformat(),
        skills=skill_facts(report, report.merges[chosen.recipe].scores, results.judges, own_drawing(recipe)),
        scores=own.intervals,
        baselines=_baselines(report, own),
        siblings=same_cost_siblings(report, recipe, releases, pool.layers) if recipe.hops and cost.times > 1 else (),
        base=base_facts(recipe, pool),
        sources=sources_facts(recipe, pool),
        token_sources=token_sources_facts(recipe, pool),
        licence=pool.licence,
        recipe=recipe_facts(recipe, pool, (folder / RECIPE_NAME).read_text(encoding="utf-8")),
        cost=cost,
        search=search_facts(results),
        selection=selection_facts(results, chosen),
        packages=package_versions(KINDS[watchlist.kind]),
        files=tuple((name, digest) for name, digest in hash_files(folder).items() if name.endswith(".safetensors")),
        languages=_languages(pool),
        kind=watchlist.kind,
        pipeline_tag=watchlist.watch.pipeline_tag or KINDS[watchlist.kind].pipeline_tag,
        example=_example(results, chosen),
        guards=guard_facts(results, chosen),
        conversions=conversion_facts(recipe, pool),
        audition=_audition_facts(results.audition),
        shown=shown_facts(results.shown.get(chosen.recipe, ())),
        grid=grid_facts(gallery, report) if (gallery := results.galleries.get(chosen.recipe)) else None,
        carrier=next((member.repo for member in pool.members if member.ref == pool.carrier), None),
        filter=find_filter(KINDS[watchlist.kind], folder),
        parts=tuple(source.repo for source in pool.sources if source.is_part_of(pool.kind)),
        last_stage=last_stage_facts(recipe, pool),
        picture_size=pool.picture_size,
        effort=effort_facts(own_drawing(recipe), [task.drawn for task in report.eval_set.tasks if task.drawn]),
    )


def find_filter(kind: ModelKind, folder: Path) -> str | None:
    """What a written release has that may give something else in the place of its answers; None for nothing."""
    return next((name.replace("_", " ") for name in kind.filters if (folder / name).is_dir()), None)


def _audition_facts(found: AuditionSummary | None) -> AuditionFacts | None:
    if found is None:
        return None
    chosen = sum(row.chosen for row in found.candidates)
    pinned = sum(row.chosen for row in found.rows) - chosen
    return AuditionFacts(len(found.candidates), chosen, pinned, found.items)


def _baselines(report: SplitResults, own: ModelScores) -> tuple[BaselineScores, ...]:
    """The baselines: those that anyone can load first, then the plain merges."""
    order = (BaselineKind.SOURCE, BaselineKind.BASE, BaselineKind.PLAIN)
    found = [
        BaselineScores(baseline.name, baseline.kind, scores.intervals, own.leads_over(scores))
        for baseline, scores in report.baseline_scores()
    ]
    return tuple(sorted(found, key=lambda one: order.index(one.kind)))


def same_cost_siblings(
    report: SplitResults, recipe: Recipe, others: Mapping[str, Recipe], layers: int
) -> tuple[BaselineScores, ...]:
    """The cycle's other releases that cost as much as a source, with the release's leads: they have as many layers.

    recipe: the release's own. others: those of the cycle's releases by repo, its own among them or not. layers: a
    source's.
    """
    own = report.merge_scores(recipe.digest)
    assert own is not None  # a release has scores
    return tuple(
        BaselineScores(repo, BaselineKind.RELEASE, scores.intervals, own.leads_over(scores))
        for repo, other in others.items()
        if other.digest != recipe.digest and other.depth == layers
        if (scores := report.merge_scores(other.digest)) is not None
    )


def _example(results: CycleResults, chosen: Chosen) -> ExampleFacts:
    report = results.splits[Split.REPORT]
    sample = results.samples.get(chosen.recipe)
    if sample is not None:
        with_pictures = results.watchlist.publish.tasks
        return example_facts(choose_example_items(report, chosen.recipe, with_pictures=with_pictures), sample)
    first, drawn = report.skills[0], report.eval_set.tasks[0].drawn
    return ExampleFacts(
        first.name,
        None,
        report.eval_set.prompt,
        "",
        0,
        first.chat_template,
        MAX_TOKENS,
        None,
        drawing=DrawingSettings(0, drawn.arguments, drawn.scheduler) if drawn else None,
    )


def skill_facts(
    split: SplitResults, scores: Sequence[ItemScore], judges: Licences = NO_LICENCES, own: OwnDrawing = AS_TASKS_SAY
) -> tuple[SkillFacts, ...]:
    """The skills with their tasks, and a model's score on each task.

    judges: as `CycleResults` has them. own: what the model draws in otherwise than tasks say.
    """
    return tuple(SkillFacts(skill.name, _tasks_of(skill.name, split, scores, judges, own)) for skill in split.skills)


def guard_facts(results: CycleResults, chosen: Chosen) -> tuple[GuardFacts, ...]:
    """The guards with their tasks, and a release's results on both splits that ask them."""
    report = results.splits[Split.REPORT]
    pairs = zip(report.guard_results(chosen.recipe), results.gate_result(chosen.recipe).guards, strict=True)
    scores, own = report.merges[chosen.recipe].scores, own_drawing(results.recipe(chosen.recipe))
    return tuple(
        GuardFacts(reported.guard, _tasks_of(reported.guard, report, scores, results.judges, own), reported, validated)
        for reported, validated in pairs
    )


def _tasks_of(
    skill: str, split: SplitResults, scores: Sequence[ItemScore], judges: Licences, own: OwnDrawing
) -> tuple[TaskFacts, ...]:
    return tuple(_task_facts(task, scores, judges, own) for task in split.eval_set.tasks if task.skill == skill)


def _task_facts(task: TaskDescription, scores: Sequence[ItemScore], judges: Licences, own: OwnDrawing) -> TaskFacts:
    answers = [score for score in scores if (score.skill, score.task) == (task.skill, task.key)]
    flags = [answer.flag for answer in answers]
    return TaskFacts(
        task=task.task,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        num_fewshot=task.num_fewshot,
        items=ItemCounts(*(task.items[split] for split in Split)),
        score=score_interval([answer.value for answer in answers], SEED),
        language=task.language,
        answers=_answer_counts(flags) if task.drawn is None else None,
        drawn=None if task.drawn is None else drawn_facts(task.drawn, judges, count_pictures(flags), own),
    )


def _answer_counts(flags: Sequence[str | None]) -> AnswerCounts | None:
    """The number of a task's generated answers with each fault; None where nothing was generated."""
    found = Counter(flag for flag in flags if flag is not None)
    if not found:
        return None
    faults = (EMPTY, LOOPING, CUT_OFF, OTHER_LANGUAGE, NO_LANGUAGE)
    return AnswerCounts(found.total(), *(found[fault] for fault in faults))


def search_facts(results: CycleResults) -> SearchFacts:
    """The cost of the search, and the machine that it ran on."""
    summary, search, resources = results.summary, results.watchlist.search, results.resources
    workers = "1 worker process" if resources.workers == 1 else f"{resources.workers} worker processes"
    threads = "1 thread" if resources.threads == 1 else f"{resources.threads} threads"
    on_cpu = f"{workers} with {threads} each ({platform.machine()})"
    return SearchFacts(
        candidates=summary.candidates,
        failed=summary.failed,
        fully_scored=summary.fully_scored,
        item_scores=summary.item_scores,
        generations=len(summary.generations),
        population=search.population,
        seed=search.seed,
        seconds=summary.seconds,
        stopped=summary.stopped,
        hardware=on_cpu if resources.device == "cpu" else f"a GPU ({resources.device})",
        timed=search.budget.minutes is not None,
        smaller=results.strategy.cost is not None and results.strategy.cost.role == SMALLEST,
        faster=results.strategy.cost is not None and results.strategy.cost.role == FASTEST,
        staged=results.strategy.staged,
        surrogate=search.surrogate,
        modelled_front=results.choice is not None,
    )


def selection_facts(results: CycleResults, chosen: Chosen) -> SelectionFacts:
    """The choice of this release, with its tests at the gate."""
    gate_result = results.gate_result(chosen.recipe)
    return SelectionFacts(
        role=chosen.role,
        front=len(results.gate_results),
        passed=sum(result.passed for result in results.gate_results),
        released=len(results.chosen),
        rule=_gate_rule(results, compared={test.baseline for test in gate_result.comparisons}),
        confidence=results.watchlist.gate.confidence,
        p_value=gate_result.p_value,
        alpha=gate_result.alpha,
        comparisons=gate_result.comparisons,
    )


def _gate_rule(results: CycleResults, compared: set[str]) -> str:
    """The gate's rule, and the plain merges that were not compared because they are broken in themselves."""
    broken = [baseline.name for baseline in results.baselines if baseline.name not in compared]
    return f"{RULE} Not compared, because it could not be scored: {', '.join(broken)}." if broken else RULE


def _languages(pool: Pool) -> tuple[str, ...]:
    """The languages that the sources' cards declare, in the order of the sources."""
    return tuple(dict.fromkeys(language for source in pool.sources for language in source.candidate.languages))
