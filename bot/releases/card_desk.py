"""Where a cycle's results become the facts of its cards, pictures and report."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bot.contest import search as contest
from bot.contest.findings import MeasuredRow, Ruling, SearchSummary
from bot.contest.gate import RULE
from bot.contest.search import Rival
from bot.contest.selection import Chosen
from bot.contest.spaces import Spaces
from bot.releases.card import PARETO_PICTURE, PATH_PICTURE, PROGRESS_PICTURE, write_card
from bot.releases.card_facts import (
    CardFacts,
    Contender,
    GateTest,
    ItemCounts,
    LicenceFacts,
    SearchFacts,
    SelectionFacts,
    SkillFacts,
    TaskFacts,
)
from bot.releases.cycle_report import CycleFacts, FrontFacts, ReleaseFacts, ScoreRow, write_report
from bot.releases.handover import Ending
from bot.releases.measured import SEED, Measured, answer_counts, estimate
from bot.releases.path_plot import path_plot
from bot.releases.plots import Mark, MarkKind, ParetoFacts, pareto_plot, progress_plot
from bot.releases.recipe_facts import base_facts, cost_facts, merge_kind, recipe_facts, sources_facts
from bot.releases.write import RECIPE_NAME, hashes, packages
from bot.scoring.bench import ExamFacts
from bot.scoring.judge import Judge, Sat, directions
from bot.scoring.machine import Crew
from bot.shop import Shop, now
from bot.sources.pool import Pool
from evaluation.intervals import interval
from evaluation.skills import Skill
from evaluation.splits import Split
from merging.dataflow.path import AnyRecipe
from merging.search.evolution import SearchResult

if TYPE_CHECKING:
    from evaluation.tasks import TaskFacts as TaskOfExam


@dataclass(frozen=True)
class Cast:
    """Who appeared in a cycle and what became of them: all that its texts tell of."""

    pool: Pool
    spaces: Spaces
    found: SearchResult
    rulings: tuple[Ruling, ...]
    chosen: tuple[Chosen, ...]
    crew: Crew

    @property
    def rivals(self) -> tuple[Rival, ...]:
        """What merges had to beat."""
        return contest.rivals(self.spaces, self.pool)

    def recipe(self, digest: str) -> AnyRecipe:
        """A front member's recipe."""
        return next(scored.recipe for scored in self.found.front if scored.recipe.digest == digest)

    def ruling(self, digest: str) -> Ruling:
        """What the gate said of a front member."""
        return next(ruling for ruling in self.rulings if ruling.recipe == digest)


def search_summary(shop: Shop) -> SearchSummary:
    """The search in numbers, as the cycle kept it."""
    summary = shop.ledger.kept(shop.cycle, "search", SearchSummary)
    assert summary is not None  # kept before anything is written about it
    return summary


def measure(shop: Shop, judge: Judge, cast: Cast) -> tuple[MeasuredRow, ...]:
    """Read the report split: the chosen, then their rivals. Nothing is chosen by these scores."""
    skills, exam = contest.wanted_skills(shop.watchlist), judge.exam(Split.REPORT)
    sat = judge.sit([cast.recipe(chosen.recipe) for chosen in cast.chosen], Split.REPORT)
    named = [(chosen.role, "release", one) for chosen, one in zip(cast.chosen, sat, strict=True)]
    named += [
        (rival.name, rival.kind.value, one) for rival, one in contest.sit_rivals(judge, cast.rivals, Split.REPORT)
    ]
    return tuple(
        MeasuredRow(name, kind, Measured.of(one, skills, directions(exam)).intervals) for name, kind, one in named
    )


def write_card_files(shop: Shop, judge: Judge, cast: Cast, chosen: Chosen, repo: str, folder: Path) -> None:
    """Put the card and its pictures beside a release's weights."""
    facts = card_facts(shop, judge, cast, chosen, repo, folder)
    (folder / "README.md").write_text(write_card(facts))
    (folder / PARETO_PICTURE).write_bytes(pareto_plot(pareto_facts(shop, judge, cast)))
    (folder / PROGRESS_PICTURE).write_bytes(progress_plot([volume for _, volume in search_summary(shop).generations]))
    if facts.recipe.path:
        (folder / PATH_PICTURE).write_bytes(path_plot(facts.recipe.path))


def card_facts(shop: Shop, judge: Judge, cast: Cast, chosen: Chosen, repo: str, folder: Path) -> CardFacts:
    """Everything the card of one release says; reads the report split."""
    skills = contest.wanted_skills(shop.watchlist)
    exam = judge.exam(Split.REPORT)
    recipe = cast.recipe(chosen.recipe)
    (sat,) = judge.sit([recipe], Split.REPORT)
    own = Measured.of(sat, skills, directions(exam))
    pool = cast.pool
    licence = pool.licence
    return CardFacts(
        repo=repo,
        tag=shop.cycle,
        hub_url=shop.hub.endpoint,
        watchlist=shop.watchlist.name,
        cycle=shop.cycle,
        date=shop.ledger.cycle(shop.cycle).started.date().isoformat(),
        skills=tuple(_skill_facts(skill, exam, sat) for skill in skills),
        scores=own.scores,
        contenders=_contenders(judge, cast, own, skills, exam),
        base=base_facts(recipe, pool),
        sources=sources_facts(recipe, pool),
        licence=LicenceFacts(licence.id, licence.name, licence.link, licence.notices),
        recipe=recipe_facts(recipe, pool, (folder / RECIPE_NAME).read_text()),
        cost=cost_facts(recipe, pool, folder),
        search=search_facts(shop, cast),
        selection=_selection_facts(shop, cast, chosen),
        packages=packages(),
        files=tuple((name, digest) for name, digest in hashes(folder).items() if name.endswith(".safetensors")),
        languages=_languages(pool),
        pipeline_tag=shop.watchlist.watch.pipeline_tag or "text-generation",
        prompt=exam.prompt,
        chat_template=skills[0].chat_template,
    )


def pareto_facts(shop: Shop, judge: Judge, cast: Cast) -> ParetoFacts:
    """What the picture of the front shows, on the search split."""
    skills = contest.wanted_skills(shop.watchlist)
    turned = directions(judge.exam(Split.SEARCH))
    points = {scored.recipe.digest: (scored.outcome.objectives or ())[: len(skills)] for scored in cast.found.front}
    releases = [Mark(chosen.role, MarkKind.RELEASE, points[chosen.recipe]) for chosen in cast.chosen]
    marks = [
        Mark(rival.name, MarkKind(rival.kind.value), objectives)
        for rival, sat in contest.sit_rivals(judge, cast.rivals, Split.SEARCH)
        if (objectives := contest.outcome(sat, skills, turned).objectives) is not None
    ]
    return ParetoFacts(
        skills=tuple(skill.name for skill in skills),
        candidates=search_summary(shop).points,
        front=tuple(points.values()),
        marks=(*releases, *marks),
    )


def search_facts(shop: Shop, cast: Cast) -> SearchFacts:
    """What the search cost."""
    summary = search_summary(shop)
    crew = cast.crew
    workers = "1 worker process" if crew.workers == 1 else f"{crew.workers} worker processes"
    threads = "1 thread" if crew.threads == 1 else f"{crew.threads} threads"
    where = f"{workers} with {threads} each ({platform.machine()})"
    return SearchFacts(
        candidates=summary.candidates,
        failed=summary.failed,
        fully_scored=summary.fully_scored,
        item_scores=summary.item_scores,
        generations=len(summary.generations),
        population=shop.watchlist.search.population,
        seed=shop.watchlist.search.seed,
        seconds=summary.seconds,
        stopped=summary.stopped,
        hardware=where if crew.device == "cpu" else f"a GPU ({crew.device})",
        smaller=cast.spaces.smaller,
        staged=cast.spaces.kind == "both",
        timed=shop.watchlist.search.budget.minutes is not None,
    )


def write_cycle_report(shop: Shop, judge: Judge, cast: Cast, ending: Ending) -> Path:
    """Write the page that tells how the cycle went; returns its path."""
    path = shop.home.report(shop.cycle)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write_report(cycle_facts(shop, judge, cast, ending)))
    return path


def cycle_facts(shop: Shop, judge: Judge, cast: Cast, ending: Ending) -> CycleFacts:
    """Everything the report of a cycle says."""
    skills = contest.wanted_skills(shop.watchlist)
    validation = judge.exam(Split.VALIDATION)
    entry = shop.ledger.cycle(shop.cycle)
    turned = directions(validation)
    rivals = contest.sit_rivals(judge, cast.rivals, Split.VALIDATION)
    return CycleFacts(
        watchlist=shop.watchlist.name,
        cycle=shop.cycle,
        hub_url=shop.hub.endpoint,
        started=f"{entry.started:%Y-%m-%d %H:%M} UTC",
        finished=f"{now():%Y-%m-%d %H:%M} UTC",
        outcome=f"{ending.state}: {ending.note}",
        skills=tuple(skill.name for skill in skills),
        verdicts=shop.ledger.verdicts(shop.cycle),
        search=search_facts(shop, cast),
        hypervolumes=tuple(volume for _, volume in search_summary(shop).generations),
        baselines=tuple(ScoreRow(rival.name, Measured.of(sat, skills, turned).scores) for rival, sat in rivals),
        front=tuple(_front_facts(judge, cast, ruling, skills) for ruling in cast.rulings),
        releases=_release_facts(shop, judge, cast, skills),
    )


def _contenders(
    judge: Judge, cast: Cast, own: Measured, skills: Sequence[Skill], exam: ExamFacts
) -> tuple[Contender, ...]:
    return tuple(
        own.contender(rival.name, rival.kind, Measured.of(sat, skills, directions(exam)))
        for rival, sat in contest.sit_rivals(judge, cast.rivals, Split.REPORT)
    )


def _skill_facts(skill: Skill, exam: ExamFacts, sat: Sat) -> SkillFacts:
    return SkillFacts(
        skill.name,
        tuple(_task_facts(task, sat) for task in exam.tasks if task.skill == skill.name),
    )


def _task_facts(task: TaskOfExam, sat: Sat) -> TaskFacts:
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


def _selection_facts(shop: Shop, cast: Cast, chosen: Chosen) -> SelectionFacts:
    ruling = cast.ruling(chosen.recipe)
    alpha = ruling.alpha / len(shop.watchlist.skills)
    return SelectionFacts(
        role=chosen.role,
        front=len(cast.rulings),
        passed=sum(ruling.passed for ruling in cast.rulings),
        released=len(cast.chosen),
        rule=_rule(cast, ruling),
        confidence=shop.watchlist.gate.confidence,
        p_value=ruling.p_value,
        alpha=ruling.alpha,
        tests=tuple(
            GateTest(test.skill, test.rival, test.difference, test.p_value, test.p_value <= alpha)
            for test in ruling.comparisons
        ),
    )


def _rule(cast: Cast, ruling: Ruling) -> str:
    """The gate's rule, and which plain merges were no rivals because they are broken in themselves."""
    compared = {comparison.rival for comparison in ruling.comparisons}
    broken = [rival.name for rival in cast.rivals if rival.name not in compared]
    return f"{RULE} Not compared, for it could not be scored: {', '.join(broken)}." if broken else RULE


def _front_facts(judge: Judge, cast: Cast, ruling: Ruling, skills: Sequence[Skill]) -> FrontFacts:
    recipe = cast.recipe(ruling.recipe)
    (sat,) = judge.sit([recipe], Split.VALIDATION)
    scores = () if sat.failure else Measured.of(sat, skills, directions(judge.exam(Split.VALIDATION))).scores
    return FrontFacts(ruling.recipe, merge_kind(recipe), scores, ruling.passed, ruling.reason)


def _release_facts(shop: Shop, judge: Judge, cast: Cast, skills: Sequence[Skill]) -> tuple[ReleaseFacts, ...]:
    facts = []
    for entry in shop.ledger.releases(shop.cycle):
        (sat,) = judge.sit([cast.recipe(entry.recipe)], Split.REPORT)
        scores = Measured.of(sat, skills, directions(judge.exam(Split.REPORT))).scores
        facts.append(ReleaseFacts(entry.repo, entry.role, entry.recipe, entry.commit, scores))
    return tuple(facts)


def _languages(pool: Pool) -> tuple[str, ...]:
    """The languages that the sources' cards declare, in the order of the sources."""
    return tuple(dict.fromkeys(language for source in pool.sources for language in source.candidate.languages))
