"""Cycles whose truth is known: simulated models sit the three splits, and the bot's own code judges them.

A model answers item i of a skill rightly where a + √k·h_i + √l·f_i + √(1 - k - l)·e_i > 0: h is the item's ease for
all models, f what all merges of a cycle have in common on it, e the model's own luck; all standard normal. So over all
items that could be asked the model's rate is Φ(a), exactly, and k and l say how alike models answer. A graded answer is
worth Φ(a + the same sum), with the mean Φ(a/√2). A skill may have several tasks, all as hard: of items of their own, or
of the same ones with the same h and f and a share of e in common, as two metrics of one task. Candidates, selection by
search scores, gate, choice and card follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bot.release.card.claims import Standing, find_standings
from bot.release.card.facts import BaselineScores, ScoreTable
from bot.release.scores import ModelScores
from bot.scoring.evaluator import Evaluation
from bot.search.gate import apply_gate
from bot.search.results import BaselineKind
from bot.search.selection import choose_releases
from bot.watchlist.domain import GateSettings
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from evaluation.statistics.intervals import wilson
from merging.evolution.pareto import nondominated
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

GATE = GateSettings(confidence=0.95, minimum={}, max_degenerate=1.0)
LIMIT = 3
"""Releases of a cycle, at most."""


@dataclass(frozen=True)
class Setting:
    """A kind of cycle.

    items: of each task in the search, validation and report split. spread: of the candidates' abilities about their
    mean; at 0 they all equal the strongest rival in every skill, and none is better than it. ease, kinship: k and l.
    tasks: of each skill, the later the weightier. shared: the share of e that they have in common; above 0 their items
    are the same.
    """

    name: str
    candidates: int
    items: tuple[int, int, int]
    skills: int
    spread: float
    ease: float = 0.4
    kinship: float = 0.3
    graded: bool = False
    tasks: int = 1
    shared: float = 0.0


@dataclass(frozen=True)
class Told:
    """What came of a cycle; every bool of `scores`, `leads` and `naive` says whether an interval holds the truth.

    published: how many were released. falsely: whether one passed the gate that has not, for every rival, a skill in
    which it is truly better. wrong_cards: how many claim what is not so. naive: of the best search score of each
    skill, had it been published; gains: by how much such a score is above the true one.
    """

    front: int
    published: int
    falsely: bool
    scores: tuple[bool, ...]
    leads: tuple[bool, ...]
    wrong_cards: int
    naive: tuple[bool, ...]
    gains: tuple[float, ...]


@dataclass(frozen=True)
class CycleResults:
    """The models of a cycle, the rivals first: abilities (models, skills), and what they answer to."""

    setting: Setting
    abilities: NDArray[np.float64]
    baselines: int
    rng: np.random.Generator

    @property
    def skills(self) -> tuple[Skill, ...]:
        tasks = tuple(SkillTask(f"t{task}", "acc", weight=1.0 + task) for task in range(self.setting.tasks))
        return tuple(Skill(f"s{index}", tasks) for index in range(self.setting.skills))

    @property
    def directions(self) -> dict[str, bool]:
        return {task.key: True for skill in self.skills for task in skill.tasks}

    @property
    def truth(self) -> NDArray[np.float64]:
        """True scores (models, skills)."""
        return ndtr(self.abilities / math.sqrt(2) if self.setting.graded else self.abilities)

    def answers(self, models: Sequence[int], items: int) -> NDArray[np.float64]:
        """Item values (models, skills, tasks, items) of a split that nobody has seen before."""
        ease, kinship, shared = self.setting.ease, self.setting.kinship, self.setting.shared
        shape = (len(models), self.setting.skills, self.setting.tasks, items)
        of_items = (self.setting.skills, 1 if shared else self.setting.tasks, items)
        merges = np.array([model >= self.baselines for model in models])[:, None, None, None]
        own = math.sqrt(1 - shared) * self.rng.standard_normal(shape)
        common = math.sqrt(kinship) * self.rng.standard_normal(of_items)
        alone = math.sqrt(kinship) * self.rng.standard_normal((len(models), *of_items))
        easy = math.sqrt(ease) * self.rng.standard_normal(of_items)
        if shared:
            own += math.sqrt(shared) * self.rng.standard_normal((len(models), *of_items))
        luck = np.where(merges, common, alone) + math.sqrt(1 - ease - kinship) * own
        latent = self.abilities[list(models)][:, :, None, None] + easy + luck
        return ndtr(latent) if self.setting.graded else (latent > 0).astype(np.float64)

    def search_scores(self, models: Sequence[int], items: int) -> NDArray[np.float64]:
        """Skill scores (models, skills) on items of the search."""
        weights = [task.weight for task in self.skills[0].tasks]
        return np.average(self.answers(models, items).mean(axis=3), axis=2, weights=weights)

    def evaluate(self, models: Sequence[int], items: int) -> list[Evaluation]:
        """The same as the bot's judge gives it."""
        return [
            Evaluation(_recipe(model), tuple(self._item_scores(values)), None, 0.0)
            for model, values in zip(models, self.answers(models, items).tolist(), strict=True)
        ]

    def _item_scores(self, values: Sequence[Sequence[Sequence[float]]]) -> Iterator[ItemScore]:
        for skill, rows in zip(self.skills, values, strict=True):
            for task, row in zip(skill.tasks, rows, strict=True):
                source = "all" if self.setting.shared else task.task
                for item, value in enumerate(row):
                    yield ItemScore(skill.name, task.key, f"{source} {item:05}", value, None)


def simulate(setting: Setting, seed: int) -> Told:
    """One cycle, from the candidates to the cards."""
    results = make_cast(setting, np.random.default_rng(seed))
    searched, validated, reported = setting.items
    merges = range(results.baselines, len(results.abilities))
    search = results.search_scores(merges, searched)
    front = [merges[index] for index in nondominated(search.tolist())]
    sat = results.evaluate([*range(results.baselines), *front], validated)
    baselines = [(f"r{index}", sat[index]) for index in range(results.baselines)]
    gate_results = apply_gate(sat[results.baselines :], baselines, results.skills, results.directions, GATE)
    by_recipe = {gate_result.recipe: model for gate_result, model in zip(gate_results, front, strict=True)}
    passed = [by_recipe[gate_result.recipe] for gate_result in gate_results if gate_result.passed]
    chosen = [
        by_recipe[one.recipe] for one in choose_releases(gate_results, [skill.name for skill in results.skills], LIMIT)
    ]
    return Told(
        len(front),
        len(chosen),
        any(not _worth_it(results, model) for model in passed),
        *_cards(results, chosen, reported),
        *_best_of_many(results, search),
    )


def make_cast(setting: Setting, rng: np.random.Generator) -> CycleResults:
    """A specialist for each skill, a plain merge, and the candidates (with one rival that they equal at spread 0)."""
    specialists = np.where(np.eye(setting.skills, dtype=bool), 0.7, -0.8)
    plain = np.zeros((1, setting.skills))
    mean = rng.uniform(-0.3, 0.8)
    equal = np.full((1, setting.skills), mean)
    candidates = mean + setting.spread * rng.standard_normal((setting.candidates, setting.skills))
    baselines = [specialists, plain, equal] if setting.spread == 0 else [specialists, plain]
    return CycleResults(setting, np.vstack([*baselines, candidates]), sum(map(len, baselines)), rng)


def _worth_it(results: CycleResults, model: int) -> bool:
    """Whether a merge deserves to pass: for every rival there is a skill in which it is truly better."""
    return bool((results.truth[model] > results.truth[: results.baselines]).any(axis=1).all())


def _cards(results: CycleResults, chosen: Sequence[int], items: int) -> tuple[tuple[bool, ...], tuple[bool, ...], int]:
    """Which intervals of the cards hold the truth: of scores, of leads; and how many cards claim what is not true."""
    if not chosen:
        return (), (), 0
    sat = results.evaluate([*range(results.baselines), *chosen], items)
    rows = [ModelScores.read(one, results.skills, results.directions) for one in sat]
    scores: list[bool] = []
    leads: list[bool] = []
    wrong = 0
    for model, own in zip(chosen, rows[results.baselines :], strict=True):
        others = tuple(
            BaselineScores(f"r{i}", BaselineKind.SOURCE, rows[i].intervals, own.leads_over(rows[i]))
            for i in range(results.baselines)
        )
        table = ScoreTable(tuple(skill.name for skill in results.skills), own.intervals, others)
        true_leads = results.truth[model] - results.truth[: results.baselines]
        scores += [one.low <= true <= one.high for one, true in zip(own.intervals, results.truth[model], strict=True)]
        cells = [lead for other in others for lead in other.leads]
        leads += [lead.low <= true <= lead.high for lead, true in zip(cells, true_leads.flat, strict=True)]
        claimed = [place for row in find_standings(table) for place in row]
        wrong += any(_false(place, true) for place, true in zip(claimed, true_leads.flat, strict=True))
    return tuple(scores), tuple(leads), wrong


def _false(place: Standing, lead: float) -> bool:
    return (place is Standing.AHEAD and lead <= 0) or (place is Standing.BEHIND and lead >= 0)


def _best_of_many(results: CycleResults, search: NDArray[np.float64]) -> tuple[tuple[bool, ...], tuple[float, ...]]:
    """The best search score of each skill as a claim: whether its interval holds, and by how much it is too high."""
    best = search.argmax(axis=0)
    claimed = search.max(axis=0)
    true = np.diagonal(results.truth[results.baselines + best])
    items = results.setting.items[0]
    simple = results.setting.tasks == 1 and not results.setting.graded
    naive = [wilson(round(score * items), items) for score in claimed.tolist()] if simple else []
    held = tuple(bool(one.low <= truth <= one.high) for one, truth in zip(naive, true, strict=False))
    return held, tuple((claimed - true).tolist())


def _recipe(model: int) -> WeightMerge:
    return WeightMerge.single(ModelId(f"sim/m{model}", "0"), Partition.even(1, 1, False, False), "float32")
