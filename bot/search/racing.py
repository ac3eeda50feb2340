"""The race of a search: candidates answer the search split in rounds, and only those worth it answer all of it.

Estimates steer the breeding and say who goes on; a front has only those who answered every item. All of it follows
from the recipes and their scores, so that a search done again from the ledger takes the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.scoring.cached import CachedEvaluator, Evaluation, directions
from bot.scoring.worker import EvalItem, EvalSetFacts
from bot.watchlist.sections import RacingSection
from evaluation.scores import ItemScore
from evaluation.skills import Skill
from evaluation.splits import Split
from merging.evolution.evolve import Outcome
from merging.evolution.pareto import nondominated
from merging.recipes.path import Recipe

if TYPE_CHECKING:
    from evaluation.racing.decisions import Decision, Panel

Key = tuple[str, str, str]
"""Skill, task and item."""

MIN_PROMOTED_SHARE = 0.1
"""Share of a generation that goes on at least: from what these answer in full the estimates learn."""


MAX_WAITING = 40
"""So many candidates wait at most, the most promising."""


@dataclass
class CandidateState:
    """Where a candidate stands: what it answered, in how many rounds, and what was decided last. It left for good, or
    may go on later."""

    scores: dict[Key, float] = field(default_factory=dict)
    rounds: int = 0
    items: int = 0
    seconds: float = 0.0
    failure: str | None = None
    decision: Decision | None = None
    left: bool = False


class Race:
    """Scores generation after generation; a function of the recipes it was given and of their scores alone."""

    def __init__(
        self,
        evaluator: CachedEvaluator,
        skills: Sequence[Skill],
        baselines: Sequence[Evaluation],
        racing: RacingSection,
        done: Callable[[int], None],
    ) -> None:
        """rivals: fully scored, the first to compare candidates with. done: told how many items were answered."""
        self._evaluator = evaluator
        self._eval_set = evaluator.eval_set(Split.SEARCH)
        self._racing = racing
        self._done = done
        self._keys = [_key(item) for item in self._eval_set.items]
        self._signs = [1.0 if directions(self._eval_set)[item.task] else -1.0 for item in self._eval_set.items]
        self._panel = panel_of(self._eval_set, skills)
        self._full = {one.recipe.digest: one for one in baselines}
        self._rows = {one.recipe.digest: self._row(_values(one.scores)) for one in baselines}
        self._states: dict[str, CandidateState] = {}

    def evaluate(self, recipes: Sequence[Recipe]) -> list[Outcome]:
        """The outcomes of a generation and of those that wait; those that are sent alone all go on, unless beaten."""
        new = [recipe for recipe in recipes if recipe.digest not in self._states]
        fresh = [recipe for recipe in new if recipe.digest not in self._full]
        self._states |= {recipe.digest: CandidateState() for recipe in fresh}
        at_least = round(MIN_PROMOTED_SHARE * len(fresh)) if new else len(recipes)
        race = self._standings()
        waiting = [recipe for recipe in recipes if self._is_running(recipe) and self._states[recipe.digest].rounds]
        going = {recipe.digest for recipe in fresh} | self._go_on(waiting, race, at_least)
        for part in range(len(self._eval_set.rounds)):
            group = [one for one in recipes if one.digest in going and self._states[one.digest].rounds == part]
            self._sit(group, part)
            going -= {one.digest for one in group} - self._go_on(group, race, at_least)
        for recipe in recipes:
            self._keep_if_full(recipe)
        self._dismiss_all_but_the_best([recipe for recipe in recipes if self._is_running(recipe)])
        return [self._outcome(recipe) for recipe in recipes]

    def _sit(self, group: Sequence[Recipe], part: int) -> None:
        """Have a group answer one round."""
        items = len(self._eval_set.rounds[part].items)
        for sat in self._evaluator.evaluate(group, Split.SEARCH, lambda: self._done(items), part=part):
            state = self._states[sat.recipe.digest]
            state.scores |= _values(sat.scores)
            state.rounds, state.items = part + 1, state.items + items
            state.seconds, state.failure = state.seconds + sat.seconds, sat.failure

    def _go_on(self, group: Sequence[Recipe], race: _Standings, at_least: int) -> set[str]:
        """Decide on a group; the digests of those that go on."""
        from evaluation.racing.decisions import Standing

        digests = [one.digest for one in group if self._is_running(one)]
        decisions = race.decide([self._row(self._states[digest].scores) for digest in digests], at_least)
        for digest, decision in zip(digests, decisions, strict=True):
            self._states[digest].decision = decision
            self._states[digest].left = decision.standing is Standing.LEAVES
        return {digest for digest, one in zip(digests, decisions, strict=True) if one.standing is Standing.GOES_ON}

    def _dismiss_all_but_the_best(self, waiting: Sequence[Recipe]) -> None:
        """Only the most promising keep waiting, or a long search would spend its time on estimates."""
        states = [self._states[recipe.digest] for recipe in waiting]
        states.sort(key=lambda state: state.decision.dominated if state.decision else 0.0)
        for state in states[MAX_WAITING:]:
            state.left = True

    def _is_running(self, recipe: Recipe) -> bool:
        state = self._states.get(recipe.digest)
        if state is None or state.failure is not None or state.left:
            return False
        return state.rounds < len(self._eval_set.rounds)

    def _keep_if_full(self, recipe: Recipe) -> None:
        state = self._states.get(recipe.digest)
        if state is None or state.failure is not None or state.rounds < len(self._eval_set.rounds):
            return
        self._rows[recipe.digest] = self._row(state.scores)

    def _outcome(self, recipe: Recipe) -> Outcome:
        if recipe.digest in self._full:
            return Outcome(self._measured(recipe), None, self._full[recipe.digest].seconds)
        state = self._states[recipe.digest]
        share = state.items / len(self._keys)
        if state.failure is not None:
            return Outcome(None, state.failure, state.seconds, share)
        if recipe.digest in self._rows or state.decision is None:
            return Outcome(self._measured(recipe), None, state.seconds, share)
        means = state.decision.estimate.means
        return Outcome(means, None, state.seconds, share, estimated=True, waiting=not state.left)

    def _measured(self, recipe: Recipe) -> tuple[float, ...]:
        import numpy as np

        return tuple(map(float, self._panel.skills(np.array([self._rows[recipe.digest]]))[0]))

    def _row(self, scores: Mapping[Key, float]) -> list[float]:
        """Scores in the panel's order, higher being better; NaN where there is none."""
        return [sign * scores.get(key, float("nan")) for key, sign in zip(self._keys, self._signs, strict=True)]

    def _standings(self) -> _Standings:
        import numpy as np

        full = np.array(list(self._rows.values()))
        points = dict(zip(self._rows, self._panel.skills(full).tolist(), strict=True))
        best = np.array([self._rows[digest] for digest in opponents(points, self._full)])
        return _Standings(self._panel, full, best, self._racing.confidence)


class _Standings:
    """What the fully scored models at the start of a generation say of candidates.

    All of them (`full`) tell of the items; candidates are compared with their opponents among them (`best`).
    """

    def __init__(self, panel: Panel, full: Any, best: Any, confidence: float) -> None:
        from evaluation.racing.estimates import fit

        self._panel, self._best, self._confidence = panel, best, confidence
        self._model = fit(full, panel.tasks, seed=0)

    def decide(self, rows: Sequence[Sequence[float]], at_least: int) -> tuple[Decision, ...]:
        """Decide on candidates by their rows."""
        import numpy as np

        from evaluation.racing.decisions import decide

        table = np.array(rows).reshape(len(rows), len(self._panel.tasks))
        return decide(table, self._best, self._panel, self._model, confidence=self._confidence, at_least=at_least)


def opponents(points: Mapping[str, Sequence[float]], baselines: Collection[str]) -> tuple[str, ...]:
    """Of the fully scored, by digest: the rivals, and those that no other dominates.

    No more, for with each that a candidate is compared with grows the chance that one beats it by luck.
    """
    digests = list(points)
    best = {digests[place] for place in nondominated(list(points.values()))}
    return tuple(digest for digest in digests if digest in best or digest in baselines)


def panel_of(eval_set: EvalSetFacts, skills: Sequence[Skill]) -> Panel:
    """An exam's items as columns of a table."""
    import numpy as np

    from evaluation.racing.decisions import Panel

    uses = [(skill, task) for skill in skills for task in skill.tasks]
    names, keys = sorted({task.task for _, task in uses}), [(skill.name, task.key) for skill, task in uses]
    weights = np.zeros((len(uses), len(skills)))
    for place, (skill, task) in enumerate(uses):
        weights[place, skills.index(skill)] = task.weight / sum(one.weight for one in skill.tasks)
    return Panel(
        tasks=tuple(keys.index((item.skill, item.task)) for item in eval_set.items),
        weights=weights,
        sources=tuple(names.index(task.task) for _, task in uses),
    )


def _key(item: EvalItem) -> Key:
    return item.skill, item.task, item.item


def _values(scores: Sequence[ItemScore]) -> dict[Key, float]:
    return {(score.skill, score.task, score.item): score.value for score in scores}
