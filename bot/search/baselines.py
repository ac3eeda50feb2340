"""The baselines that merges must beat: every source, the base, and the plain merges that nobody tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.errors import ShoalError
from bot.hub.pool.pool import Pool
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation
from bot.search.results import BaselineKind
from bot.search.strategies.strategy import SearchStrategy
from evaluation.splits import Split
from merging.recipes.recipe import Recipe


@dataclass(frozen=True)
class Baseline:
    """A model that a merge has to beat. name: the repo of a source or base, or a description of the plain merge."""

    name: str
    kind: BaselineKind
    recipe: Recipe


def list_baselines(strategy: SearchStrategy, pool: Pool) -> tuple[Baseline, ...]:
    """The plain merges, every source, and the base if there is one."""
    space = strategy.weight_merges
    plain = [Baseline(name, BaselineKind.PLAIN, recipe) for name, recipe in strategy.plain_recipes()]
    sources = [Baseline(source.repo, BaselineKind.SOURCE, space.alone(source.ref)) for source in pool.sources]
    bases = [Baseline(pool.base.repo, BaselineKind.BASE, space.alone(pool.base.ref))] if pool.base else []
    return (*plain, *sources, *bases)


def evaluate_baselines(
    evaluator: CachedEvaluator,
    baselines: Sequence[Baseline],
    split: Split,
    on_scored: Callable[[], None] = lambda: None,
) -> tuple[tuple[Baseline, Evaluation], ...]:
    """Score the baselines on a split; those that cannot be scored are left out. on_scored: called for each.

    Raises ShoalError for a source or base without scores: merges that need not beat it would pass too easily. A plain
    merge may be broken in itself (its sums overflow in half precision, say), and then nobody could use it instead.
    """
    recipes = [baseline.recipe for baseline in baselines]
    evaluations = evaluator.evaluate(recipes, split, on_scored, retry_transient=True)
    for baseline, evaluation in zip(baselines, evaluations, strict=True):
        if evaluation.failure is not None and (baseline.kind is not BaselineKind.PLAIN or evaluation.transient):
            raise ShoalError(
                f"{baseline.name}: could not be scored on the {split} split ({evaluation.failure}), and merges must "
                "beat it; fix that (memory, workers.batch_size) or leave the model out, then run again"
            )
    return tuple(pair for pair in zip(baselines, evaluations, strict=True) if pair[1].failure is None)
