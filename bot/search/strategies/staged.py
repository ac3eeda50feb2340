"""The search in two stages: weight merges first, then paths through the best of them.

Both stages share one budget, one ledger and one front: the members of each compete in the end.
"""

from __future__ import annotations

from dataclasses import replace

from bot.hub.pool.pool import Pool
from bot.search.job import SearchJob
from bot.search.strategies.memory import held_bytes
from bot.search.strategies.paths import PathSearch
from merging.evolution.outcomes import SearchResult, SearchSettings
from merging.evolution.pareto import extremes_and_knee, hypervolume
from merging.identity import ModelId
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.paths import PathSpace
from merging.spaces.space import SearchSpace


class StagedSearch(PathSearch):
    """Weight merges with one part of the budget, paths with `dataflow.share` of it.

    It differs from the search among paths through the sources in the models whose layers are laid out.
    """

    @property
    def first_space(self) -> SearchSpace:
        """The weight merges."""
        return self.weight_merges

    @property
    def staged(self) -> bool:
        """The first stage's models are chosen by their validation scores."""
        return True

    @property
    def left_out(self) -> tuple[ModelId, ...]:
        """None: every source takes part in the first stage."""
        return ()

    @property
    def size(self) -> int:
        """Number of genomes of both stages."""
        return self.weight_merges.size + self._widest_paths.size

    @property
    def gene_count(self) -> int:
        """Number of genes of the stage that has more."""
        return max(len(self.weight_merges.levels), len(self._widest_paths.levels))

    def candidate_bytes(self, pool: Pool, dtype: str, device: str) -> int:
        """The live model for weight merges, what the deepest path copies, the weight merges that paths run through,
        and the two sources of the plain path.
        """
        model = pool.model_bytes(dtype)
        laid_out = model * self.layout.dataflow.models
        return model + self.path_bytes(pool, dtype) + laid_out + held_bytes(pool, pool.sources[:2], dtype, device)

    def run(self, job: SearchJob) -> SearchResult:
        """Search among weight merges, then among paths with the rest of the budget."""
        cost = self.cost.of if self.cost else None
        first_settings = _share_budget(job.settings, 1 - self.layout.dataflow.share)
        first = job.evolve(self.weight_merges, first_settings, cost=cost)
        rest = _remaining_budget(job.settings, first)
        if rest is None:
            return first
        paths = self.layout.space(self.choose_models(job, first))
        second = job.evolve(paths, rest, cost=cost, earlier=first)
        return replace(second, stopped=f"weight merges: {first.stopped}; paths: {second.stopped}")

    def choose_models(self, job: SearchJob, first: SearchResult) -> list[WeightMerge]:
        """Choose the models whose layers are laid out, from the first stage's front and the sources.

        The first model is the knee of the front by its validation scores. Each further one is the candidate that adds
        most to the hypervolume of the validation scores, above the lowest of all.

        Validation scores, because scores of the search split would favour what they selected. This is the one place
        where a search sees scores on which the gate tests its front later, so the gate is a little less strict for
        staged searches; the report split stays unseen.
        """
        sources = self.weight_merges.singles()
        members = {one.recipe.digest: one.recipe.parts[0] for one in first.front}
        known = members | {one.digest: one for one in sources}
        points = {
            digest: scores
            for digest, scores in zip(known, job.validate(list(known.values())), strict=True)
            if scores is not None
        }
        if len(points) < 2:
            return list(sources)
        leaders = [digest for digest in points if digest in members] or list(points)
        # Slightly below the lowest scores, so that a model with the lowest score in one skill adds volume, too.
        reference = tuple(min(column) - 1e-6 for column in zip(*points.values(), strict=True))
        (knee,) = extremes_and_knee([points[digest] for digest in leaders], 1)
        chosen = [leaders[knee]]
        while len(chosen) < min(self.layout.dataflow.models, len(points)):
            taken = [points[digest] for digest in chosen]
            others = [digest for digest in points if digest not in chosen]
            chosen.append(max(others, key=lambda digest: hypervolume([*taken, points[digest]], reference)))
        return [known[digest] for digest in chosen]

    @property
    def _widest_paths(self) -> PathSpace:
        """Paths through as many models as may be laid out. Which models does not matter: only sizes are read."""
        source = self.weight_merges.alone(self.weight_merges.sources[0])
        return self.layout.space([source] * self.layout.dataflow.models)


def _share_budget(settings: SearchSettings, share: float) -> SearchSettings:
    minutes = None if settings.minutes is None else settings.minutes * share
    return replace(settings, candidates=max(1, round(settings.candidates * share)), minutes=minutes)


def _remaining_budget(settings: SearchSettings, first: SearchResult) -> SearchSettings | None:
    """The budget that the first stage left; None if it is not enough for one candidate."""
    candidates = int(settings.candidates - sum(one.outcome.share for one in first.scored))
    spent_minutes = sum(one.outcome.seconds for one in first.scored) / 60
    minutes = None if settings.minutes is None else settings.minutes - spent_minutes
    if candidates < 1 or (minutes is not None and minutes <= 0):
        return None
    return replace(settings, candidates=candidates, minutes=minutes)
