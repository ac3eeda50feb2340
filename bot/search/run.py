"""The contest of a cycle: which rivals merges must beat, and the search among all that are possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.errors import ShoalError
from bot.hub.pool import Pool
from bot.ledger.ledger import Ledger
from bot.progress import Narrator
from bot.scoring.cached import CachedEvaluator, Evaluation, directions
from bot.search.racing import Race
from bot.search.results import BaselineKind, SearchSummary
from bot.search.spaces import Spaces
from bot.search.stages import SearchJob, run_stages
from bot.watchlist.watchlist import Watchlist
from evaluation.scores import skill_scores
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split
from merging.evolution.evolve import Generation, Outcome, SearchResult, Settings
from merging.recipes.path import Recipe


@dataclass(frozen=True)
class Baseline:
    """A model that a merge has to beat: a source alone, the base alone, or a plain merge that nobody tuned."""

    name: str
    kind: BaselineKind
    recipe: Recipe


def evaluation_skills(watchlist: Watchlist) -> tuple[Skill, ...]:
    """The watchlist's skills as evaluation knows them."""
    return tuple(
        Skill(
            skill.name,
            tuple(SkillTask(t.task, t.metric, t.filter, t.weight, t.num_fewshot) for t in skill.tasks),
            skill.chat_template,
            skill.language,
        )
        for skill in watchlist.skills
    )


def baselines(spaces: Spaces, pool: Pool) -> tuple[Baseline, ...]:
    """Every source and the base alone, and the plain merges."""
    alone = spaces.weights.alone
    singles = [Baseline(source.repo, BaselineKind.SOURCE, alone(source)) for source in spaces.weights.sources]
    bases = [Baseline(pool.base.repo, BaselineKind.BASE, alone(pool.base.ref))] if pool.base else []
    plain = [Baseline(name, BaselineKind.PLAIN, recipe) for name, recipe in spaces.plain_recipes()]
    return (*plain, *singles, *bases)


def evaluate_baselines(
    evaluator: CachedEvaluator, baselines: Sequence[Baseline], split: Split
) -> tuple[tuple[Baseline, Evaluation], ...]:
    """The rivals' scores on a split, of all that can be scored.

    A source or base without scores stops the cycle: merges that need not beat it would pass too easily. A plain
    merge alone may be broken in itself (its sums overflow in half precision, say): nobody could use it instead.
    """
    sat = tuple(
        zip(
            baselines, evaluator.evaluate([baseline.recipe for baseline in baselines], split, forgive=True), strict=True
        )
    )
    for baseline, one in sat:
        if one.failure is not None and (baseline.kind is not BaselineKind.PLAIN or one.transient):
            raise ShoalError(
                f"{baseline.name}: could not be scored on the {split} split ({one.failure}), and merges must beat it; "
                "mend that (memory, workers.batch_size) or leave the model out, then run again"
            )
    return tuple((baseline, one) for baseline, one in sat if one.failure is None)


def search(
    watchlist: Watchlist,
    spaces: Spaces,
    evaluator: CachedEvaluator,
    baselines: Sequence[Evaluation],
    ledger: Ledger,
    cycle: str,
    narrator: Narrator,
) -> SearchResult:
    """Evolve recipes on the search split. Resuming is doing it again: known scores come from the ledger.

    rivals: their scores on the search split, with which candidates are compared in a race.
    """
    skills = evaluation_skills(watchlist)
    asked = watchlist.search
    eval_set = evaluator.eval_set(Split.SEARCH)

    with narrator.bar("breeding", asked.budget.candidates * len(eval_set.items)) as advance:

        def answered(items: int) -> None:
            advance(items, "")

        def evaluate_in_full(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
            sat = evaluator.evaluate(recipes, Split.SEARCH, lambda: answered(len(eval_set.items)))
            return [outcome(one, skills, directions(eval_set)) for one in sat]

        def validate(recipes: Sequence[Recipe]) -> Sequence[tuple[float, ...] | None]:
            turned = directions(evaluator.eval_set(Split.VALIDATION))
            return [outcome(one, skills, turned).objectives for one in evaluator.evaluate(recipes, Split.VALIDATION)]

        def on_generation(generation: Generation) -> None:
            advance(
                0,
                f"generation {generation.index}, {len(generation.front)} on the front, "
                f"hypervolume {generation.hypervolume:.4f}",
            )
            ledger.record_front(cycle, generation.index, _members(generation, len(skills)))

        evaluate = (
            Race(evaluator, skills, baselines, asked.racing, answered).evaluate if asked.racing else evaluate_in_full
        )
        settings = Settings(asked.population, asked.budget.candidates, asked.budget.minutes, asked.seed)
        return run_stages(SearchJob(spaces, settings, evaluate, validate, len(skills), on_generation))


def outcome(sat: Evaluation, skills: Sequence[Skill], directions: Mapping[str, bool]) -> Outcome:
    """A recipe's skill scores as the search's objectives."""
    if sat.failure is not None:
        return Outcome(None, sat.failure, sat.seconds)
    scores = skill_scores(skills, directions, sat.scores)
    return Outcome(tuple(scores[skill.name] for skill in skills), None, sat.seconds)


def summarise(result: SearchResult, items: int, skills: int) -> SearchSummary:
    """The search in numbers, on a split of so many items; ShoalError if not one candidate could be scored.

    skills: how many of the objectives are skills.
    """
    reasons = Counter(scored.outcome.failure for scored in result.scored if scored.outcome.failure is not None)
    measured = [scored.outcome.objectives for scored in result.scored if not scored.outcome.estimated]
    points = [point for point in measured if point is not None]
    if not points:
        (reason, _), *_ = reasons.most_common(1)
        raise ShoalError(f"search: not one of {len(result.scored)} candidates could be scored; most often: {reason}")
    return SearchSummary(
        candidates=len(result.scored),
        failed=len(measured) - len(points),
        generations=tuple((generation.scored, generation.hypervolume) for generation in result.generations),
        points=tuple(point[:skills] for point in points),
        front=tuple(scored.recipe.digest for scored in result.front),
        seconds=sum(scored.outcome.seconds for scored in result.scored),
        stopped=result.stopped,
        reasons=tuple(reasons.most_common()),
        fully_scored=len(points),
        item_scores=round(items * sum(scored.outcome.share for scored in result.scored)),
    )


def _members(generation: Generation, skills: int) -> list[tuple[str, tuple[float, ...]]]:
    return [(scored.recipe.digest, (scored.outcome.objectives or ())[:skills]) for scored in generation.front]
