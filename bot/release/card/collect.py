"""Where a cycle's results become the facts of its cards, pictures and report."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bot.context import CycleContext, now
from bot.hub.pool import Pool
from bot.release.card.card import PARETO_PICTURE, PATH_PICTURE, PROGRESS_PICTURE, write_card
from bot.release.card.facts import (
    BaselineScores,
    CardFacts,
    GateTest,
    ItemCounts,
    LicenceFacts,
    SearchFacts,
    SelectionFacts,
    SkillFacts,
    TaskFacts,
)
from bot.release.card.measured import SEED, Measured, answer_counts, estimate
from bot.release.card.recipes import base_facts, cost_facts, merge_kind, recipe_facts, sources_facts
from bot.release.plots.path import path_plot
from bot.release.plots.scores import Mark, MarkKind, ParetoFacts, pareto_plot, progress_plot
from bot.release.report import CycleFacts, FrontFacts, ReleaseFacts, ScoreRow, write_report
from bot.release.review import Ending
from bot.release.write import RECIPE_NAME, hashes, packages
from bot.scoring.cached import CachedEvaluator, Evaluation, directions
from bot.scoring.resources import Resources
from bot.scoring.worker import EvalSetFacts
from bot.search import run as search_run
from bot.search.gate import RULE
from bot.search.results import GateResult, MeasuredRow, SearchSummary
from bot.search.run import Baseline
from bot.search.selection import Chosen
from bot.search.spaces import Spaces
from evaluation.skills import Skill
from evaluation.splits import Split
from evaluation.statistics.intervals import interval
from merging.evolution.evolve import SearchResult
from merging.recipes.path import Recipe

if TYPE_CHECKING:
    from evaluation.harness.tasks import TaskDescription


@dataclass(frozen=True)
class CycleResults:
    """Who appeared in a cycle and what became of them: all that its texts tell of."""

    pool: Pool
    spaces: Spaces
    found: SearchResult
    gate_results: tuple[GateResult, ...]
    chosen: tuple[Chosen, ...]
    resources: Resources

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """What merges had to beat."""
        return search_run.baselines(self.spaces, self.pool)

    def recipe(self, digest: str) -> Recipe:
        """A front member's recipe."""
        return next(scored.recipe for scored in self.found.front if scored.recipe.digest == digest)

    def gate_result(self, digest: str) -> GateResult:
        """What the gate said of a front member."""
        return next(gate_result for gate_result in self.gate_results if gate_result.recipe == digest)


def search_summary(context: CycleContext) -> SearchSummary:
    """The search in numbers, as the cycle kept it."""
    summary = context.ledger.kept(context.cycle, "search", SearchSummary)
    assert summary is not None  # kept before anything is written about it
    return summary


def measure(context: CycleContext, evaluator: CachedEvaluator, results: CycleResults) -> tuple[MeasuredRow, ...]:
    """Read the report split: the chosen, then their rivals. Nothing is chosen by these scores."""
    skills, eval_set = search_run.evaluation_skills(context.watchlist), evaluator.eval_set(Split.REPORT)
    sat = evaluator.evaluate([results.recipe(chosen.recipe) for chosen in results.chosen], Split.REPORT)
    named = [(chosen.role, "release", one) for chosen, one in zip(results.chosen, sat, strict=True)]
    named += [
        (baseline.name, baseline.kind.value, one)
        for baseline, one in search_run.evaluate_baselines(evaluator, results.baselines, Split.REPORT)
    ]
    return tuple(
        MeasuredRow(name, kind, Measured.of(one, skills, directions(eval_set)).intervals) for name, kind, one in named
    )


def write_card_files(
    context: CycleContext, evaluator: CachedEvaluator, results: CycleResults, chosen: Chosen, repo: str, folder: Path
) -> None:
    """Put the card and its pictures beside a release's weights."""
    facts = card_facts(context, evaluator, results, chosen, repo, folder)
    (folder / "README.md").write_text(write_card(facts))
    (folder / PARETO_PICTURE).write_bytes(pareto_plot(pareto_facts(context, evaluator, results)))
    (folder / PROGRESS_PICTURE).write_bytes(
        progress_plot([volume for _, volume in search_summary(context).generations])
    )
    if facts.recipe.path:
        (folder / PATH_PICTURE).write_bytes(path_plot(facts.recipe.path))


def card_facts(
    context: CycleContext, evaluator: CachedEvaluator, results: CycleResults, chosen: Chosen, repo: str, folder: Path
) -> CardFacts:
    """Everything the card of one release says; reads the report split."""
    skills = search_run.evaluation_skills(context.watchlist)
    eval_set = evaluator.eval_set(Split.REPORT)
    recipe = results.recipe(chosen.recipe)
    (sat,) = evaluator.evaluate([recipe], Split.REPORT)
    own = Measured.of(sat, skills, directions(eval_set))
    pool = results.pool
    licence = pool.licence
    return CardFacts(
        repo=repo,
        tag=context.cycle,
        hub_url=context.hub.endpoint,
        watchlist=context.watchlist.name,
        cycle=context.cycle,
        date=context.ledger.cycle(context.cycle).started.date().isoformat(),
        skills=tuple(_skill_facts(skill, eval_set, sat) for skill in skills),
        scores=own.scores,
        baselines=_contenders(evaluator, results, own, skills, eval_set),
        base=base_facts(recipe, pool),
        sources=sources_facts(recipe, pool),
        licence=LicenceFacts(licence.id, licence.name, licence.link, licence.notices),
        recipe=recipe_facts(recipe, pool, (folder / RECIPE_NAME).read_text()),
        cost=cost_facts(recipe, pool, folder),
        search=search_facts(context, results),
        selection=_selection_facts(context, results, chosen),
        packages=packages(),
        files=tuple((name, digest) for name, digest in hashes(folder).items() if name.endswith(".safetensors")),
        languages=_languages(pool),
        pipeline_tag=context.watchlist.watch.pipeline_tag or "text-generation",
        prompt=eval_set.prompt,
        chat_template=skills[0].chat_template,
    )


def pareto_facts(context: CycleContext, evaluator: CachedEvaluator, results: CycleResults) -> ParetoFacts:
    """What the picture of the front shows, on the search split."""
    skills = search_run.evaluation_skills(context.watchlist)
    turned = directions(evaluator.eval_set(Split.SEARCH))
    points = {scored.recipe.digest: (scored.outcome.objectives or ())[: len(skills)] for scored in results.found.front}
    releases = [Mark(chosen.role, MarkKind.RELEASE, points[chosen.recipe]) for chosen in results.chosen]
    marks = [
        Mark(baseline.name, MarkKind(baseline.kind.value), objectives)
        for baseline, sat in search_run.evaluate_baselines(evaluator, results.baselines, Split.SEARCH)
        if (objectives := search_run.outcome(sat, skills, turned).objectives) is not None
    ]
    return ParetoFacts(
        skills=tuple(skill.name for skill in skills),
        candidates=search_summary(context).points,
        front=tuple(points.values()),
        marks=(*releases, *marks),
    )


def search_facts(context: CycleContext, results: CycleResults) -> SearchFacts:
    """What the search cost."""
    summary = search_summary(context)
    resources = results.resources
    workers = "1 worker process" if resources.workers == 1 else f"{resources.workers} worker processes"
    threads = "1 thread" if resources.threads == 1 else f"{resources.threads} threads"
    where = f"{workers} with {threads} each ({platform.machine()})"
    return SearchFacts(
        candidates=summary.candidates,
        failed=summary.failed,
        fully_scored=summary.fully_scored,
        item_scores=summary.item_scores,
        generations=len(summary.generations),
        population=context.watchlist.search.population,
        seed=context.watchlist.search.seed,
        seconds=summary.seconds,
        stopped=summary.stopped,
        hardware=where if resources.device == "cpu" else f"a GPU ({resources.device})",
        smaller=results.spaces.smaller,
        staged=results.spaces.kind == "both",
        timed=context.watchlist.search.budget.minutes is not None,
    )


def write_cycle_report(
    context: CycleContext, evaluator: CachedEvaluator, results: CycleResults, ending: Ending
) -> Path:
    """Write the page that tells how the cycle went; returns its path."""
    path = context.home.report(context.cycle)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write_report(cycle_facts(context, evaluator, results, ending)))
    return path


def cycle_facts(context: CycleContext, evaluator: CachedEvaluator, results: CycleResults, ending: Ending) -> CycleFacts:
    """Everything the report of a cycle says."""
    skills = search_run.evaluation_skills(context.watchlist)
    validation = evaluator.eval_set(Split.VALIDATION)
    entry = context.ledger.cycle(context.cycle)
    turned = directions(validation)
    baselines = search_run.evaluate_baselines(evaluator, results.baselines, Split.VALIDATION)
    return CycleFacts(
        watchlist=context.watchlist.name,
        cycle=context.cycle,
        hub_url=context.hub.endpoint,
        started=f"{entry.started:%Y-%m-%d %H:%M} UTC",
        finished=f"{now():%Y-%m-%d %H:%M} UTC",
        outcome=f"{ending.state}: {ending.note}",
        skills=tuple(skill.name for skill in skills),
        verdicts=context.ledger.verdicts(context.cycle),
        search=search_facts(context, results),
        hypervolumes=tuple(volume for _, volume in search_summary(context).generations),
        baselines=tuple(
            ScoreRow(baseline.name, Measured.of(sat, skills, turned).scores) for baseline, sat in baselines
        ),
        front=tuple(_front_facts(evaluator, results, gate_result, skills) for gate_result in results.gate_results),
        releases=_release_facts(context, evaluator, results, skills),
    )


def _contenders(
    evaluator: CachedEvaluator, results: CycleResults, own: Measured, skills: Sequence[Skill], eval_set: EvalSetFacts
) -> tuple[BaselineScores, ...]:
    return tuple(
        own.baseline(baseline.name, baseline.kind, Measured.of(sat, skills, directions(eval_set)))
        for baseline, sat in search_run.evaluate_baselines(evaluator, results.baselines, Split.REPORT)
    )


def _skill_facts(skill: Skill, eval_set: EvalSetFacts, sat: Evaluation) -> SkillFacts:
    return SkillFacts(
        skill.name,
        tuple(_task_facts(task, sat) for task in eval_set.tasks if task.skill == skill.name),
    )


def _task_facts(task: TaskDescription, sat: Evaluation) -> TaskFacts:
    answered = [score for score in sat.scores if (score.skill, score.task) == (task.skill, task.key)]
    return TaskFacts(
        task=task.task,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        num_fewshot=task.num_fewshot,
        items=ItemCounts(*(task.items[split] for split in Split)),
        score=estimate(interval([score.value for score in answered], SEED)),
        language=task.language,
        answers=answer_counts([score.flag for score in answered]),
    )


def _selection_facts(context: CycleContext, results: CycleResults, chosen: Chosen) -> SelectionFacts:
    gate_result = results.gate_result(chosen.recipe)
    alpha = gate_result.alpha / len(context.watchlist.skills)
    return SelectionFacts(
        role=chosen.role,
        front=len(results.gate_results),
        passed=sum(gate_result.passed for gate_result in results.gate_results),
        released=len(results.chosen),
        rule=_rule(results, gate_result),
        confidence=context.watchlist.gate.confidence,
        p_value=gate_result.p_value,
        alpha=gate_result.alpha,
        tests=tuple(
            GateTest(test.skill, test.baseline, test.difference, test.p_value, test.p_value <= alpha)
            for test in gate_result.comparisons
        ),
    )


def _rule(results: CycleResults, gate_result: GateResult) -> str:
    """The gate's rule, and which plain merges were no rivals because they are broken in themselves."""
    compared = {comparison.baseline for comparison in gate_result.comparisons}
    broken = [baseline.name for baseline in results.baselines if baseline.name not in compared]
    return f"{RULE} Not compared, for it could not be scored: {', '.join(broken)}." if broken else RULE


def _front_facts(
    evaluator: CachedEvaluator, results: CycleResults, gate_result: GateResult, skills: Sequence[Skill]
) -> FrontFacts:
    recipe = results.recipe(gate_result.recipe)
    (sat,) = evaluator.evaluate([recipe], Split.VALIDATION)
    scores = () if sat.failure else Measured.of(sat, skills, directions(evaluator.eval_set(Split.VALIDATION))).scores
    return FrontFacts(gate_result.recipe, merge_kind(recipe), scores, gate_result.passed, gate_result.reason)


def _release_facts(
    context: CycleContext, evaluator: CachedEvaluator, results: CycleResults, skills: Sequence[Skill]
) -> tuple[ReleaseFacts, ...]:
    facts = []
    for entry in context.ledger.releases(context.cycle):
        (sat,) = evaluator.evaluate([results.recipe(entry.recipe)], Split.REPORT)
        scores = Measured.of(sat, skills, directions(evaluator.eval_set(Split.REPORT))).scores
        facts.append(ReleaseFacts(entry.repo, entry.role, entry.recipe, entry.commit, scores))
    return tuple(facts)


def _languages(pool: Pool) -> tuple[str, ...]:
    """The languages that the sources' cards declare, in the order of the sources."""
    return tuple(dict.fromkeys(language for source in pool.sources for language in source.candidate.languages))
