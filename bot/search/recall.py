"""What a cycle recalls of earlier cycles of its watchlist: chosen once, before its search, and kept.

The ledger grows while a search runs, so the choice is kept by digests: a cycle that was killed goes on with the same.
A search that an earlier cycle has run already, before another gate say, begins as that one did: all its scores are
known, and it finds the same front again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.hub.pool.pool import Pool
from bot.ledger.ledger import Cycle, Ledger
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation
from bot.search.baselines import Baseline
from bot.search.results import EarlierMember, Recalled, RecallPlan, RecallSummary, ScoredModel
from bot.search.strategies.strategy import SearchStrategy
from bot.search.warm_start import CarriedOver, TodaysModels, WarmStart, carry_over
from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split
from merging.errors import MergingError
from merging.evolution.pareto import spread_order
from merging.recipes.recipe import Recipe, read_recipe

MOST_RECIPES = 100
"""Most recipes of earlier fronts that are looked at, those of the newest cycles first."""

MOST_MODELS = 60
"""Most other models whose scores the estimates may learn from: each makes every estimate slower."""


def todays_models(pool: Pool, strategy: SearchStrategy) -> TodaysModels:
    """The models of a pool, as earlier recipes are carried over to them."""
    names = tuple(pool.prototype.headers)
    sources = tuple(source.ref for source in pool.sources)
    base, staged = (one.ref if one else None for one in (pool.base, pool.staged))
    return TodaysModels(sources, base, strategy.weight_merges.groups, names, staged)


@dataclass(frozen=True)
class Recall:
    """The earlier cycles of a watchlist, newest first, as the search of a new one sees them."""

    ledger: Ledger
    earlier: tuple[Cycle, ...]
    watchlist: Watchlist
    strategy: SearchStrategy
    today: TodaysModels

    @property
    def search_digest(self) -> str:
        """Digest of what decides the search besides its budget, which only ends it, and the items."""
        values = {
            "search": {key: value for key, value in self.watchlist.digested["search"].items() if key != "budget"},
            "skills": [skill.model_dump(mode="json") for skill in self.watchlist.skills],
            "sources": [source.to_json() for source in self.today.sources],
            "base": self.today.base.to_json() if self.today.base else None,
            "groups": self.today.groups.to_json(),
            **({"staged": self.today.staged.to_json()} if self.today.staged else {}),
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def recalled(self, cycle: str, evaluator: CachedEvaluator, baselines: Sequence[Baseline]) -> Recalled:
        """What a cycle recalls. It is chosen once and kept; chosen again only if the models or the items changed.

        baselines: what is scored before the search, whatever the cycle recalls.
        """
        eval_set = evaluator.facts(Split.SEARCH).digest
        found = self.ledger.kept(cycle, Recalled.STAGE, Recalled)
        if found is None or (found.search, found.eval_set) != (self.search_digest, eval_set):
            found = self._repeat(eval_set) or self._choose(evaluator, [one.recipe.digest for one in baselines])
            self.ledger.keep(cycle, Recalled.STAGE, found, Recalled)
        return found

    def repeated_search(self, eval_set: str | None = None) -> tuple[Recalled, str] | None:
        """What the newest earlier cycle recalled whose search this one repeats, and that cycle's id.

        eval_set: digest of the search split's evaluation set; None where it is not known, and any will do.
        """
        for cycle in self.earlier:
            found = self.ledger.kept(cycle.id, Recalled.STAGE, Recalled)
            if found and found.search == self.search_digest and eval_set in (None, found.eval_set):
                return found, cycle.id
        return None

    def choose_members(self) -> tuple[EarlierMember, ...]:
        """Members of the earlier fronts, each recipe once, the most important first.

        Newer cycles come before older ones. Of one cycle the releases come first, then the other members of its last
        front, in an order of which every beginning is spread over the front, then those of the generations before.
        """
        found: dict[str, EarlierMember] = {}
        for cycle in self.earlier:
            front = self.ledger.front(cycle.id)
            released = [release.recipe for release in self.ledger.releases(cycle.id)]
            last = [front[place][0] for place in spread_order([objectives for _, objectives in front])]
            for digest in (*released, *last, *self.ledger.once_on_front(cycle.id)):
                found.setdefault(digest, EarlierMember(cycle.id, digest))
        return tuple(found.values())[:MOST_RECIPES]

    def carry(self, members: Sequence[EarlierMember]) -> CarriedOver:
        """Carry members over to today's search."""
        recipes = [self._read(member.recipe) for member in members]
        return carry_over(recipes, self.today, self.strategy.first_space, self.watchlist.search.population)

    def plan(self) -> RecallPlan | None:
        """What a search would recall, as far as it can be known without the evaluation sets; None for nothing."""
        members = self.choose_members()
        if not members:
            return None
        repeated = self.repeated_search()
        cycles = tuple(dict.fromkeys(member.cycle for member in members))
        carried = len(self.carry(members).first)
        return RecallPlan(cycles, repeated[1] if repeated else None, len(members), carried)

    def warm_start(self, recalled: Recalled, evaluator: CachedEvaluator) -> WarmStart:
        """What the search begins with."""
        known = [(self._read(digest), evaluator.recorded(digest, Split.SEARCH)) for digest in recalled.known]
        return WarmStart(
            carried=self.carry(recalled.members).recipes,
            known=tuple(Evaluation(recipe, scores, None, 0.0) for recipe, scores in known if recipe is not None),
            models=tuple(
                tuple(score for score in evaluator.recorded(model.recipe, Split.SEARCH) if score.task in model.tasks)
                for model in recalled.models
            ),
            repeats=self._repeated(recalled),
        )

    def _repeated(self, recalled: Recalled) -> tuple[str, ...]:
        """The cycles whose search is repeated, the newest first: the one recalled, the one that it repeated itself, ….

        One that only repeats has recorded nothing that its predecessor has, and one that was killed not everything.
        """
        found: list[str] = []
        newest: Recalled | None = recalled
        while newest is not None and newest.summary.repeats is not None:
            found.append(newest.summary.repeats)
            newest = self.ledger.kept(found[-1], Recalled.STAGE, Recalled)
        return tuple(found)

    def _repeat(self, eval_set: str) -> Recalled | None:
        """What an earlier cycle recalled whose search this one repeats."""
        found = self.repeated_search(eval_set)
        if found is None:
            return None
        same, cycle = found
        return replace(same, summary=replace(same.summary, repeats=cycle))

    def _choose(self, evaluator: CachedEvaluator, baselines: Sequence[str]) -> Recalled:
        facts = evaluator.facts(Split.SEARCH)
        members = self.choose_members()
        carried = self.carry(members)
        known = tuple(
            digest
            for digest in carried.digests
            if digest not in baselines and len(evaluator.recorded(digest, Split.SEARCH)) == len(facts.items)
        )
        known_baselines = sum(self.ledger.evaluation(digest, facts.digest) is not None for digest in baselines)
        models = self._other_models(evaluator, {*known, *baselines})
        cycles = tuple(dict.fromkeys(member.cycle for member in members))
        summary = RecallSummary(
            cycles=cycles,
            repeats=None,
            recipes=len(members),
            carried=len(carried.first),
            renewed=carried.renewed,
            reduced=carried.reduced,
            known=len(known),
            known_baselines=known_baselines,
            item_scores=(len(known) + known_baselines) * len(facts.items),
            models=len(models),
            left_out=carried.left_out,
        )
        return Recalled(self.search_digest, facts.digest, members, known, models, summary)

    def _other_models(self, evaluator: CachedEvaluator, known: set[str]) -> tuple[ScoredModel, ...]:
        """Recipes that were once on a front, with whole tasks of at least half of today's items, newer cycles first."""
        once = (digest for cycle in self.earlier for digest in self.ledger.once_on_front(cycle.id))
        others = [digest for digest in dict.fromkeys(once) if digest not in known][:MOST_MODELS]
        asked = Counter(item.task for item in evaluator.facts(Split.SEARCH).items)
        found = []
        for digest in others:
            answered = Counter(score.task for score in evaluator.recorded(digest, Split.SEARCH))
            tasks = tuple(task for task, count in asked.items() if answered[task] == count)
            if sum(asked[task] for task in tasks) >= asked.total() / 2:
                found.append(ScoredModel(digest, tasks))
        return tuple(found)

    def _read(self, digest: str) -> Recipe | None:
        """A recipe of the ledger; None if this shoal does not read it any more."""
        try:
            return read_recipe(json.loads(self.ledger.recipe(digest)))
        except MergingError:
            return None
