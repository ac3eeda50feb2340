"""The baselines that merges must beat: every source, the base, and the plain merges that nobody tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bot.errors import ShoalError
from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Pool
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation
from bot.search.results import BaselineKind
from bot.search.strategies.strategy import SearchStrategy
from evaluation.splits import Split
from merging.identity import ModelId
from merging.recipes.recipe import Recipe


@dataclass(frozen=True)
class Baseline:
    """A model that a merge has to beat.

    name: the repo of a source or base, or a description of the plain merge. alone: the source or base, where it is
    scored as it is published because its own tokenizer is not that of the merges; None where it has the same.
    """

    name: str
    kind: BaselineKind
    recipe: Recipe
    alone: ModelId | None = None


def list_baselines(strategy: SearchStrategy, pool: Pool) -> tuple[Baseline, ...]:
    """The plain merges, every source, and the base if there is one.

    What a source can do shows with its own tokenizer: with that of a merge of several vocabularies it would read its
    texts in pieces that it never saw, and merges would beat it too easily.
    """
    parted = pool.vocabulary.parted if pool.vocabulary else ()

    def single(member: Member, kind: BaselineKind) -> Baseline:
        recipe = strategy.weight_merges.alone(member.ref)
        if member.repo in parted:
            return Baseline(member.repo, kind, replace(recipe, vocabulary=()), member.ref)
        return Baseline(member.repo, kind, recipe)

    plain = [Baseline(name, BaselineKind.PLAIN, recipe) for name, recipe in strategy.plain_recipes()]
    sources = [single(source, BaselineKind.SOURCE) for source in pool.sources]
    bases = [single(pool.base, BaselineKind.BASE)] if pool.base else []
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
    together = [baseline.recipe for baseline in baselines if baseline.alone is None]
    scored = iter(evaluator.evaluate(together, split, on_scored, retry_transient=True))
    evaluations = [
        next(scored) if one.alone is None else _evaluate_alone(evaluator, one.recipe, one.alone, split, on_scored)
        for one in baselines
    ]
    for baseline, evaluation in zip(baselines, evaluations, strict=True):
        if evaluation.failure is not None and (baseline.kind is not BaselineKind.PLAIN or evaluation.transient):
            raise ShoalError(
                f"{baseline.name}: could not be scored on the {split} split ({evaluation.failure}), and merges must "
                "beat it; fix that (memory, workers.batch_size) or leave the model out, then run again"
            )
    return tuple(pair for pair in zip(baselines, evaluations, strict=True) if pair[1].failure is None)


def _evaluate_alone(
    evaluator: CachedEvaluator, recipe: Recipe, model: ModelId, split: Split, on_scored: Callable[[], None]
) -> Evaluation:
    with evaluator.alone(model) as own:
        (evaluation,) = own.evaluate([recipe], split, on_scored, retry_transient=True)
    return evaluation
