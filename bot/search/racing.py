"""The race of a search: candidates answer the search split in rounds, and only promising ones answer all of it.

After a round the candidate is compared with the models that have answered everything, as in successive halving
(Jamieson & Talwalkar 2016), but by tests and estimates instead of a fixed share:

    new ──round 1──▶ decision ──▶ promoted ──next round──▶ decision … ──last round──▶ complete
                        ├──▶ waiting ──sent again with a later generation──▶ decision
                        └──▶ stopped

    state      outcome that the search gets                when it changes
    new        -                                           answers the first round in the generation that brings it
    promoted   -                                           answers the next round at once, in the same worker
    waiting    estimated; the search may send it again     decided on again when it is sent again, or scored in full
                                                           if too few of its generation are complete
    stopped    estimated, or failed                        never: it is beaten, or failed, or too many others wait
    complete   measured                                    never; later generations are compared with it

A promoted candidate goes on while its model is in memory, so that its rounds together cost hardly more than the whole
evaluation at once. Therefore each candidate is decided on by itself, by what was complete when its generation began:
decisions depend neither on the other candidates of the generation nor on who finishes first, only on the recipes and
their scores, and a search replayed from the ledger takes the same way. Estimates steer the search and the promotions;
the front holds complete candidates only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation
from bot.search.warm_start import COLD, WarmStart
from evaluation.eval_set import EvalItem, EvalSetFacts
from evaluation.scores import ItemScore
from evaluation.skills import Skill
from evaluation.splits import Split
from merging.evolution.outcomes import Outcome
from merging.evolution.pareto import nondominated
from merging.recipes.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluation.racing.decisions import Decision, Panel

ItemKey = tuple[str, str, str]
"""Skill, task and item."""

MIN_COMPLETE_SHARE = 0.1
"""Share of a generation that is scored in full, unless it is beaten: the estimates learn from complete candidates
alone."""

MAX_WAITING = 40
"""Most candidates that wait, the most promising ones. Estimating more would take longer than scoring a few."""


class CandidateState(StrEnum):
    """The states of the module's table."""

    NEW = "new"
    PROMOTED = "promoted"
    WAITING = "waiting"
    STOPPED = "stopped"
    COMPLETE = "complete"


@dataclass
class _Candidate:
    """A candidate's state and its scores so far.

    scores: item scores of all rounds. items: number of items answered. cost: that of its rounds, 1 for all of them.
    seconds: time spent on it in all rounds.
    """

    state: CandidateState = CandidateState.NEW
    scores: dict[ItemKey, float] = field(default_factory=dict)
    rounds: int = 0
    items: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    failure: str | None = None
    decision: Decision | None = None


class Race:
    """Scores one generation after another."""

    def __init__(
        self,
        evaluator: CachedEvaluator,
        skills: Sequence[Skill],
        baselines: Sequence[Evaluation],
        confidence: float,
        on_answered: Callable[[int], None],
        warm: WarmStart = COLD,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """baselines: complete from the start; the first models that candidates are compared with.

        confidence: confidence of the test by which a candidate is stopped.
        on_answered: called with the number of items that a candidate has just answered.
        warm: complete recipes of earlier cycles, and the scores of other models.
        """
        self._evaluator = evaluator
        self._facts = evaluator.facts(Split.SEARCH)
        self._confidence = confidence
        self._on_answered = on_answered
        self._max_waiting = max_waiting
        self._keys = [_item_key(item) for item in self._facts.items]
        higher_is_better = dict(self._facts.directions)
        self._signs = [1.0 if higher_is_better[item.task] else -1.0 for item in self._facts.items]
        self._panel = make_panel(self._facts, skills)
        self._baselines = {one.recipe.digest: one for one in baselines}
        # A row of item scores for every complete model. Its order decides nothing but the last bits of the estimates;
        # a replay fills it in the same order.
        self._rows = {one.recipe.digest: self._row(_scores_by_item(one.scores)) for one in (*baselines, *warm.known)}
        self._earlier = self._choose_earlier([self._row(_scores_by_item(scores)) for scores in warm.models])
        self._candidates: dict[str, _Candidate] = {}

    def evaluate(self, recipes: Sequence[Recipe]) -> list[Outcome]:
        """Score a generation and those waiting candidates that are sent with it; outcomes are in the same order.

        Waiting candidates that are sent alone are all scored in full unless they are beaten: no new candidate can be
        found, so waiting any longer would be pointless.
        """
        unknown = [recipe for recipe in recipes if recipe.digest not in self._candidates]
        new = [recipe for recipe in unknown if recipe.digest not in self._baselines]
        waiting = self._in_state(recipes, CandidateState.WAITING)
        # One for the generation, so that no decision depends on the order in which candidates finish.
        standings = self._standings()
        self._candidates |= {recipe.digest: _Candidate() for recipe in new}
        for recipe in waiting:
            self._decide(self._candidates[recipe.digest], standings)
        self._run(self._in_state(recipes, CandidateState.NEW, CandidateState.PROMOTED), standings)
        self._complete(recipes, standings, round(MIN_COMPLETE_SHARE * len(new)) if unknown else len(recipes))
        self._stop_surplus(self._in_state(recipes, CandidateState.WAITING))
        for recipe in self._in_state(recipes, CandidateState.COMPLETE):
            self._rows[recipe.digest] = self._row(self._candidates[recipe.digest].scores)
        return [self._outcome(recipe) for recipe in recipes]

    def _choose_earlier(self, rows: list[list[float]]) -> list[list[float]]:
        """The rows of earlier models, if estimates are better with them: the models that are complete now decide."""
        import numpy as np

        from evaluation.racing.transfer import earlier_scores_help

        if not rows:
            return []
        first = {_item_key(item) for item in self._facts.rounds[0].items}
        asked = np.array([key in first for key in self._keys])
        helped = earlier_scores_help(np.array(list(self._rows.values())), np.array(rows), self._panel.tasks, asked)
        return rows if helped else []

    def _in_state(self, recipes: Sequence[Recipe], *states: CandidateState) -> list[Recipe]:
        """The recipes whose candidates are in one of these states; a baseline is not a candidate."""
        return [
            recipe
            for recipe in recipes
            if recipe.digest in self._candidates and self._candidates[recipe.digest].state in states
        ]

    def _run(self, recipes: Sequence[Recipe], standings: _Standings, *, to_the_end: bool = False) -> None:
        """Have each candidate answer one round after the other until it is complete, stopped or waiting.

        to_the_end: none waits.
        """
        candidates = [self._candidates[recipe.digest] for recipe in recipes]

        def next_round(index: int, evaluation: Evaluation) -> int | None:
            candidate = candidates[index]
            self._note_round(candidate, evaluation)
            if candidate.state in (CandidateState.STOPPED, CandidateState.COMPLETE):
                return None
            self._decide(candidate, standings, to_the_end=to_the_end)
            return candidate.rounds if candidate.state is CandidateState.PROMOTED else None

        self._evaluator.evaluate_rounds(
            recipes, Split.SEARCH, [candidate.rounds for candidate in candidates], next_round
        )

    def _note_round(self, candidate: _Candidate, evaluation: Evaluation) -> None:
        """Add the scores of a round. A candidate that fails is stopped, one that has answered all is complete."""
        asked = self._facts.rounds[candidate.rounds]
        candidate.scores |= _scores_by_item(evaluation.scores)
        candidate.rounds += 1
        candidate.cost += asked.cost
        candidate.items += len(asked.items)
        candidate.seconds += evaluation.seconds
        candidate.failure = evaluation.failure
        if candidate.failure is not None:
            candidate.state = CandidateState.STOPPED
        elif candidate.rounds == len(self._facts.rounds):
            candidate.state = CandidateState.COMPLETE
        self._on_answered(len(asked.items))

    def _decide(self, candidate: _Candidate, standings: _Standings, *, to_the_end: bool = False) -> None:
        """Promote, stop or leave waiting."""
        from evaluation.racing.decisions import RaceStatus

        states = {
            RaceStatus.PROMOTED: CandidateState.PROMOTED,
            RaceStatus.WAITING: CandidateState.PROMOTED if to_the_end else CandidateState.WAITING,
            RaceStatus.DROPPED: CandidateState.STOPPED,
        }
        candidate.decision = standings.decide(self._row(candidate.scores))
        candidate.state = states[candidate.decision.status]

    def _complete(self, recipes: Sequence[Recipe], standings: _Standings, quota: int) -> None:
        """Have waiting candidates answer everything, the most promising first, as many as `quota` lacks complete ones.

        One that turns out to be beaten is not replaced by another.
        """
        missing = max(0, quota - len(self._in_state(recipes, CandidateState.COMPLETE)))
        waiting = self._by_promise(self._in_state(recipes, CandidateState.WAITING))
        self._run(waiting[:missing], standings, to_the_end=True)

    def _by_promise(self, waiting: Sequence[Recipe]) -> list[Recipe]:
        """Waiting recipes, the most promising first, equals by digest."""

        def dominated(recipe: Recipe) -> tuple[float, str]:
            decision = self._candidates[recipe.digest].decision
            assert decision is not None  # without one no candidate waits
            return decision.dominated, recipe.digest

        return sorted(waiting, key=dominated)

    def _stop_surplus(self, waiting: Sequence[Recipe]) -> None:
        """Stop all but the most promising of those that wait."""
        for recipe in self._by_promise(waiting)[self._max_waiting :]:
            self._candidates[recipe.digest].state = CandidateState.STOPPED

    def _outcome(self, recipe: Recipe) -> Outcome:
        if recipe.digest in self._baselines:
            seconds = self._baselines[recipe.digest].seconds
            return Outcome(self._measured(recipe), None, seconds, errors=self._errors(self._rows[recipe.digest]))
        candidate = self._candidates[recipe.digest]
        share, answered = min(1.0, candidate.cost), candidate.items / len(self._keys)
        outcome = Outcome(None, candidate.failure, candidate.seconds, share, answered=answered)
        if candidate.failure is not None:
            return outcome
        if candidate.state is CandidateState.COMPLETE:
            return replace(outcome, objectives=self._measured(recipe), errors=self._errors(self._rows[recipe.digest]))
        assert candidate.decision is not None  # a decision follows every round but the last
        estimate, waits = candidate.decision.estimate, candidate.state is CandidateState.WAITING
        errors = tuple(map(math.hypot, estimate.deviations, self._errors(self._row(candidate.scores))))
        return replace(outcome, objectives=estimate.means, errors=errors, estimated=True, waiting=waits)

    def _measured(self, recipe: Recipe) -> tuple[float, ...]:
        """Skill scores of a complete model."""
        import numpy as np

        return tuple(map(float, self._panel.skills(np.array([self._rows[recipe.digest]]))[0]))

    def _errors(self, row: list[float]) -> tuple[float, ...]:
        """Standard errors of skill scores on all of these items, as scores on items like these."""
        import numpy as np

        return tuple(map(float, self._panel.errors(np.array([row]))[0]))

    def _row(self, scores: Mapping[ItemKey, float]) -> list[float]:
        """Scores in the panel's order, negated where lower is better; NaN where there is none."""
        return [sign * scores.get(key, float("nan")) for key, sign in zip(self._keys, self._signs, strict=True)]

    def _standings(self) -> _Standings:
        import numpy as np

        complete = np.array(list(self._rows.values()))
        points = dict(zip(self._rows, self._panel.skills(complete).tolist(), strict=True))
        opponents = np.array([self._rows[digest] for digest in select_opponents(points, self._baselines)])
        learnt = np.array([*self._rows.values(), *self._earlier])
        return _Standings(self._panel, learnt, opponents, self._confidence)


class _Standings:
    """The complete models at the start of a generation, by which its candidates are judged.

    learnt: scores (models × items, NaN where there is none) from which the item response model learns: those of all
        complete models, and of other models of earlier cycles.
    opponents: models × items, those that candidates are compared with.
    """

    def __init__(
        self,
        panel: Panel,
        learnt: NDArray[np.float64],
        opponents: NDArray[np.float64],
        confidence: float,
    ) -> None:
        from evaluation.racing.estimates import fit_item_model

        self._panel, self._opponents, self._confidence = panel, opponents, confidence
        self._model = fit_item_model(learnt, panel.tasks, seed=0)

    def decide(self, row: Sequence[float]) -> Decision:
        """Decide on a candidate by its row."""
        import numpy as np

        from evaluation.racing.decisions import decide_candidate

        return decide_candidate(np.array(row), self._opponents, self._panel, self._model, confidence=self._confidence)


def select_opponents(points: Mapping[str, Sequence[float]], baselines: Collection[str]) -> tuple[str, ...]:
    """The digests of those complete models that candidates are compared with: baselines, and the nondominated ones.

    No others, because every further comparison raises the chance that a model beats the candidate by luck.
    """
    digests = list(points)
    best = {digests[place] for place in nondominated(list(points.values()))}
    return tuple(digest for digest in digests if digest in best or digest in baselines)


def make_panel(facts: EvalSetFacts, skills: Sequence[Skill]) -> Panel:
    """The items of an evaluation set as columns of a table."""
    import numpy as np

    from evaluation.racing.decisions import Panel

    uses = [(skill, task) for skill in skills for task in skill.tasks]
    names, keys = sorted({task.task for _, task in uses}), [(skill.name, task.key) for skill, task in uses]
    weights = np.zeros((len(uses), len(skills)))
    for place, (skill, task) in enumerate(uses):
        weights[place, skills.index(skill)] = task.weight / sum(one.weight for one in skill.tasks)
    return Panel(
        tasks=tuple(keys.index((item.skill, item.task)) for item in facts.items),
        weights=weights,
        sources=tuple(names.index(task.task) for _, task in uses),
    )


def _item_key(item: EvalItem) -> ItemKey:
    return item.skill, item.task, item.item


def _scores_by_item(scores: Sequence[ItemScore]) -> dict[ItemKey, float]:
    return {(score.skill, score.task, score.item): score.value for score in scores}
