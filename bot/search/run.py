"""The search of a cycle: recipes scored on the search split, evolved, and summed up."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bot.errors import ShoalError
from bot.ledger.asked import LedgerJournal
from bot.ledger.ledger import Ledger
from bot.progress import Narrator
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation
from bot.search.job import SearchJob, Validate
from bot.search.racing import Race
from bot.search.results import SEARCHING, SearchSummary
from bot.search.strategies.strategy import SearchStrategy
from bot.search.warm_start import COLD, WarmStart
from bot.watchlist.watchlist import Watchlist
from evaluation.scores import make_strata, standard_error, weighted_mean
from evaluation.skills import Skill
from evaluation.splits import Split
from merging.evolution.outcomes import Evaluate, Generation, Outcome, Scored, SearchResult
from merging.recipes.recipe import Recipe


def search_recipes(
    watchlist: Watchlist,
    strategy: SearchStrategy,
    evaluator: CachedEvaluator,
    baselines: Sequence[Evaluation],
    ledger: Ledger,
    cycle: str,
    narrator: Narrator,
    warm: WarmStart = COLD,
) -> SearchResult:
    """Evolve recipes on the search split. Resuming means doing it again: known scores come from the ledger.

    baselines: their evaluations on the search split, which candidates of a race are compared with.
    warm: what the search begins with from earlier cycles.
    """
    skills = watchlist.evaluation_skills
    items = len(evaluator.facts(Split.SEARCH).items)
    minutes = watchlist.search.budget.minutes
    clock = None if minutes is None else BudgetClock(60 * minutes)
    allowed = None if clock is None else clock.seconds_left
    total = watchlist.search.budget.candidates * items
    with narrator.bar(SEARCHING, total, seconds_allowed=allowed) as advance:

        def on_generation(generation: Generation) -> None:
            front = f"generation {generation.index}, {len(generation.front)} on the front"
            advance(0, f"{front}, hypervolume {generation.hypervolume:.4f}")
            ledger.record_front(cycle, generation.index, _front_rows(generation, len(skills)))

        racing = watchlist.search.racing
        evaluate: Evaluate
        if racing is None:
            evaluate = _full_evaluation(evaluator, skills, lambda: advance(items, ""))
        else:
            race = Race(evaluator, skills, baselines, racing.confidence, lambda answered: advance(answered, ""), warm)
            evaluate = race.evaluate
        if clock is not None:
            evaluate = clock.timed(evaluate)
        validate = _validation(evaluator, skills)
        known = _known_recipes(warm, skills, dict(evaluator.facts(Split.SEARCH).directions))
        settings = watchlist.search_settings
        journal = LedgerJournal(ledger, cycle, warm.repeats)
        return strategy.run(
            SearchJob(settings, evaluate, validate, len(skills), on_generation, warm.carried, known, journal)
        )


class BudgetClock:
    """What is left of a search's minutes, for the estimate that is shown; the search itself goes by its outcomes.

    Scores from the ledger count with the seconds that they once took, as they do for the budget.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._now = seconds, now
        self._spent: dict[str, float] = {}
        self._generation_began: float | None = None

    def seconds_left(self) -> float:
        """Seconds of the budget that no candidate has used, less those since the current generation began."""
        running = 0.0 if self._generation_began is None else self._now() - self._generation_began
        return max(0.0, self._seconds - math.fsum(self._spent.values()) - running)

    def timed(self, evaluate: Evaluate) -> Evaluate:
        """The function, with its outcomes counted."""

        def counted(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
            self._generation_began = self._now()
            outcomes = evaluate(recipes)
            # A candidate that waited is sent again, with the seconds of all its rounds.
            self._spent |= {recipe.digest: one.seconds for recipe, one in zip(recipes, outcomes, strict=True)}
            self._generation_began = None
            return outcomes

        return counted


def make_outcome(evaluation: Evaluation, skills: Sequence[Skill], directions: Mapping[str, bool]) -> Outcome:
    """An evaluation as the search sees it: one objective for each skill."""
    if evaluation.failure is not None:
        return Outcome(None, evaluation.failure, evaluation.seconds)
    strata = [make_strata(skill, directions, evaluation.scores) for skill in skills]
    return Outcome(
        tuple(map(weighted_mean, strata)), None, evaluation.seconds, errors=tuple(map(standard_error, strata))
    )


def summarise_search(result: SearchResult, items: int, skills: int) -> SearchSummary:
    """Sum up a search on a split with this number of items; ShoalError if no candidate could be scored.

    skills: number of objectives that are skills.
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
        item_scores=round(items * sum(scored.outcome.answered for scored in result.scored)),
    )


def _full_evaluation(evaluator: CachedEvaluator, skills: Sequence[Skill], on_done: Callable[[], None]) -> Evaluate:
    """Score every candidate on all items of the search split."""
    higher_is_better = dict(evaluator.facts(Split.SEARCH).directions)

    def evaluate(recipes: Sequence[Recipe]) -> Sequence[Outcome]:
        return [
            make_outcome(one, skills, higher_is_better) for one in evaluator.evaluate(recipes, Split.SEARCH, on_done)
        ]

    return evaluate


def _validation(evaluator: CachedEvaluator, skills: Sequence[Skill]) -> Validate:
    """Score recipes on the validation split, for strategies that choose between their stages."""

    def validate(recipes: Sequence[Recipe]) -> Sequence[tuple[float, ...] | None]:
        higher_is_better = dict(evaluator.facts(Split.VALIDATION).directions)
        evaluations = evaluator.evaluate(recipes, Split.VALIDATION)
        return [make_outcome(one, skills, higher_is_better).objectives for one in evaluations]

    return validate


def _known_recipes(warm: WarmStart, skills: Sequence[Skill], directions: Mapping[str, bool]) -> tuple[Scored, ...]:
    """The recipes whose scores were known before the search; they cost it nothing."""
    outcomes = [make_outcome(one, skills, directions) for one in warm.known]
    free = [replace(outcome, seconds=0.0, share=0.0, answered=0.0) for outcome in outcomes]
    return tuple(Scored(one.recipe, outcome, 0) for one, outcome in zip(warm.known, free, strict=True))


def _front_rows(generation: Generation, skills: int) -> list[tuple[str, tuple[float, ...]]]:
    return [(scored.recipe.digest, (scored.outcome.objectives or ())[:skills]) for scored in generation.front]
