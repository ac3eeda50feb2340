"""How well a candidate's full scores are told from a part of its answers: item response, low rank, plain means.

    python -m benchmarks estimates [SEEDS]

For each seed the demo's search is run on all items; models are fitted on its first candidates and asked about the
later ones, which are better than those: the situation of a race. All see the same items, chosen at random or by what
they tell about the present front. Printed for each skill, over all seeds and numbers of candidates learnt from:
Spearman's rank correlation with the full scores, the mean absolute error in points, and how often the 95 % interval
holds the full score. Then, in words, which method and which order is better.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.record import Figures
from benchmarks.zoo_bench import demo_space, demo_watchlist, in_process_scores
from evaluation.racing.estimates import ItemModel, Predicted, fit_item_model
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.evolution.pareto import nondominated
from merging.recipes.weight_merge import WeightMerge

Array = NDArray[np.float64]

CANDIDATES, POPULATION = 140, 20
LEARNT_FROM = (10, 30, 80)
ASKED_ABOUT = 60
SHARES = (0.1, 0.2, 0.4)

Measurements = dict[tuple[str, float, str], list[Array]]
"""By order, share of the items and method: skills × (correlation, error, coverage) of each measurement."""


def searched(seed: int, answers: Callable[[WeightMerge], Array], tasks: Array) -> Array:
    """Candidates × items of a search on all items, in the order of the search."""
    rows: list[Array] = []

    def evaluate(recipes: Sequence[WeightMerge]) -> list[Outcome]:
        found = [answers(recipe) for recipe in recipes]
        rows.extend(found)
        return [Outcome(tuple(map(float, _means(row[None], tasks)[0])), None, 0.0) for row in found]

    evolve(demo_space(), SearchSettings(POPULATION, CANDIDATES, None, seed), evaluate, objectives=int(tasks.max()) + 1)
    return np.array(rows)


def low_rank(learnt: Array, rows: Array, tasks: Array, rank: int = 5) -> Predicted:
    """The alternative: probabilistic principal components of the complete rows (Tipping and Bishop 1999)."""
    mean = learnt.mean(axis=0)
    _, singular, axes = np.linalg.svd(learnt - mean, full_matrices=False)
    kept = min(rank, len(learnt) - 1)
    noise = float((singular[kept:] ** 2).sum() / (len(learnt) * (learnt.shape[1] - kept))) + 1e-3
    loadings = axes[:kept].T * (singular[:kept] / np.sqrt(len(learnt)))
    seen = ~np.isnan(rows[0])
    covariance = np.linalg.inv(loadings[seen].T @ loadings[seen] / noise + np.eye(kept))
    traits = (rows[:, seen] - mean[seen]) @ loadings[seen] / noise @ covariance
    items = np.where(np.isnan(rows), np.clip(mean + traits @ loadings.T, 0, 1), rows)
    member = np.where(seen[:, None], 0.0, tasks[:, None] == np.arange(tasks.max() + 1))
    slopes = loadings.T @ member
    variance = noise * member.sum(axis=0) + np.einsum("kt,kl,lt->t", slopes, covariance, slopes)
    deviations = np.sqrt(variance) / np.bincount(tasks)
    return Predicted(items, _means(items, tasks), np.tile(deviations, (len(rows), 1)))


def plain(rows: Array, tasks: Array) -> Predicted:
    """The mean of the answers seen, with the deviation of a draw without replacement."""
    seen = np.bincount(tasks[~np.isnan(rows[0])])
    mean = _means(rows, tasks)
    smooth = (mean * seen + 1) / (seen + 2)
    return Predicted(rows, mean, np.sqrt(smooth * (1 - smooth) / seen * (1 - seen / np.bincount(tasks))))


def chosen(share: float, tasks: Array, worth: Array) -> NDArray[np.bool_]:
    """The items that are worth most, the same share of each task."""
    mask = np.zeros(len(tasks), dtype=bool)
    for task in range(int(tasks.max()) + 1):
        of = np.flatnonzero(tasks == task)
        mask[of[np.argsort(-worth[of], kind="stable")][: round(share * len(of))]] = True
    return mask


def by_information(model: ItemModel, learnt: Array, tasks: Array) -> Array:
    """What each item tells about models like those on the front, of whom nothing but their like is known yet."""
    front = learnt[list(nondominated(_means(learnt, tasks)))]
    blurred = np.where(np.random.default_rng(0).random(front.shape) < 0.9, np.nan, front)
    return np.asarray(model.information(blurred))


def measure(rows: Array, tasks: Array, seed: int, found: Measurements) -> None:
    """Add each method's figures for one search."""
    for count in LEARNT_FROM:
        learnt, asked = rows[:count], rows[count : count + ASKED_ABOUT]
        truth, model = _means(asked, tasks), fit_item_model(learnt, tasks, seed=0)
        orders = {"random": np.random.default_rng(seed).random(len(tasks))}
        orders["informative"] = by_information(model, learnt, tasks)
        for order, worth in orders.items():
            for share in SHARES:
                part = np.where(chosen(share, tasks, worth), asked, np.nan)
                answers = {"item response": model.predict(part), "low rank": low_rank(learnt, part, tasks)}
                for method, predicted in {**answers, "plain mean": plain(part, tasks)}.items():
                    found[order, share, method].append(_figures(predicted, truth))


def _figures(predicted: Predicted, truth: Array) -> Array:
    misses = np.abs(predicted.means - truth)
    held = misses <= 1.96 * predicted.deviations + 1e-9
    ranks = [spearmanr(predicted.means[:, task], truth[:, task])[0] for task in range(truth.shape[1])]
    return np.stack([np.array(ranks), 100 * misses.mean(axis=0), 100 * held.mean(axis=0)], axis=1)


def verdict(found: Measurements) -> Iterator[str]:
    """Which method and which order is the better one, by error and by ranks."""
    methods = ("item response", "low rank", "plain mean")
    for order in ("random", "informative"):
        errors = {method: _mean(found, order, method)[1] for method in methods}
        listed = ", ".join(f"{method} {error:.2f}" for method, error in errors.items())
        yield f"{order} items: smallest error by {min(errors, key=errors.__getitem__)} ({listed} points)"
    random, informative = (_mean(found, order, "item response") for order in ("random", "informative"))
    for what, at, sign in (("rank correlation", 0, 1), ("error", 1, -1)):
        better = "informative" if sign * (informative[at] - random[at]) > 0 else "random"
        yield f"item response, by {what}: {better} items ({random[at]:.3f} random, {informative[at]:.3f} informative)"


def _mean(found: Measurements, order: str, method: str) -> Array:
    """Correlation, error and coverage over all shares, skills and measurements."""
    return np.nanmean([figures for share in SHARES for figures in found[order, share, method]], axis=(0, 1))


def _means(rows: Array, tasks: Array) -> Array:
    return np.stack([np.nanmean(rows[:, tasks == task], axis=1) for task in range(int(tasks.max()) + 1)], axis=1)


def main() -> Figures:
    """Run the searches and print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    answers, tasks = in_process_scores()
    # Tasks are numbered in the order of their keys.
    skills = [name for _, name in sorted((t.key, s.name) for s in demo_watchlist().evaluation_skills for t in s.tasks)]
    found: Measurements = defaultdict(list)
    for seed in range(1, seeds + 1):
        measure(searched(seed, answers, tasks), tasks, seed, found)
    print(f"{seeds} searches, models fitted on {LEARNT_FROM} candidates and asked about the next {ASKED_ABOUT}")
    print("each skill: rank correlation, error in points, share of 95 % intervals that hold")
    print(f"{'items':12s} {'share':>5s} {'method':14s}" + "".join(f" {skill:>20s}" for skill in skills))
    for (order, share, method), figures in found.items():
        cells = [f"{rank:8.3f} {error:5.2f} {held:4.0f}%" for rank, error, held in np.nanmean(figures, axis=0)]
        print(f"{order:12s} {share:5.0%} {method:14s}" + "".join(f" {cell:>20s}" for cell in cells))
    print(*verdict(found), sep="\n")
    rows = [
        {"items": order, "share": share, "method": method, "rank": rank, "error": error, "held": held}
        for (order, share, method), figures in found.items()
        for rank, error, held in [map(float, np.nanmean(figures, axis=(0, 1)))]
    ]
    return {"seeds": seeds, "methods": rows}


if __name__ == "__main__":
    main()
