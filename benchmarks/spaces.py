"""Which space to search: mixtures of weights, paths through layers, or both, on items that no search has seen.

    python -m benchmarks spaces [SEEDS] [--candidates N] [--layers N] [--zoo FOLDER] [--random]

Every arm has the same budget of candidates, each scored on the whole search split. Of a search's front the validation
split chooses the member with the best cross skill, and the report split says how good that one is. `weights, then
paths` is told more than the others: its search asks the validation split which models to lay out, beyond its budget.
Hypervolume is that of the whole front's scores on the report split, above 0 in every skill. It is no fair measure of
fronts of different sizes: of many members some are good by chance, and each adds what it is too good.

`scale 1` is the ablation W = 1 of Akiba et al. (2024, arXiv 2403.13187) in two forms: searches without scales, and,
under the arms with scales, the chosen path with all its scales set to 1. --random adds arms that take the same first
genomes as a search, and random ones ever after. Beside them the models themselves and the merges that need no search.

Intervals are at 95 %. For models and merges without a search Wilson's, over items. For an arm's skills that of the mean
over seeds of the search and over items: Student's t over the seeds and the normal interval over the items' means, added
in quadrature, which is a little too wide, for noise that belongs to a seed and an item at once is in both parts. For
hypervolume over the seeds alone; where a difference has two intervals, the first is over the seeds alone, too. Models
and items are the same for all seeds.

Without --layers and --zoo the models are those of the demo. --layers has models of another depth trained (minutes),
into --zoo if that is given and not yet there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.record import Figures
from benchmarks.zoo_bench import Examined, checkpoints, demo_space, demo_watchlist, spec
from benchmarks.zoo_bench import depth as depth_of_zoo
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.search.job import SearchJob
from bot.search.strategies.paths import PathSearch
from bot.search.strategies.staged import StagedSearch
from bot.search.strategies.strategy import PathLayout, SearchStrategy
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.sections import DataflowSection, SpaceKind
from evaluation.harness.process_state import quiet
from evaluation.splits import Split
from evaluation.statistics.intervals import score_interval
from evaluation.statistics.values import Interval
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.evolution.pareto import hypervolume, nondominated
from merging.recipes.path import path_recipe
from merging.recipes.recipe import Recipe
from merging.spaces.space import SearchSpace
from zoo.repo import WEIGHTS
from zoo.train import train_zoo, write

Array = NDArray[np.float64]
Point = tuple[float, ...]

CHOSEN_BY = "cross"
LEVEL = 0.95
LAST = "language/config.json"
"""In the folder of a zoo when all of it is there."""


@dataclass(frozen=True)
class Arm:
    """A way to look for merges. bred: by evolution; else at random, in one space alone."""

    space: SpaceKind
    scales: bool = True
    bred: bool = True

    def strategy(self, zoo: Path) -> SearchStrategy:
        """How it searches over a zoo's models."""
        space, layout = demo_space(zoo), PathLayout(DataflowSection(scales=self.scales), tied=False, step=0.05)
        match self.space:
            case "parameter":
                return WeightMergeSearch(space)
            case "dataflow":
                return PathSearch(space, layout)
            case "both":
                return StagedSearch(space, layout)


ARMS: Mapping[str, Arm] = {
    "weights": Arm("parameter"),
    "paths": Arm("dataflow"),
    "weights, then paths": Arm("both"),
    "paths, scale 1": Arm("dataflow", scales=False),
    "weights, then paths, scale 1": Arm("both", scales=False),
    "weights at random": Arm("parameter", bred=False),
    "paths at random": Arm("dataflow", bred=False),
}

COMPARED = (
    ("paths", "weights"),
    ("weights, then paths", "weights"),
    ("weights, then paths", "paths"),
    ("paths", "paths, scale 1"),
    ("weights, then paths", "weights, then paths, scale 1"),
    ("weights", "weights at random"),
    ("paths", "paths at random"),
)


@dataclass(frozen=True)
class Found:
    """What a search came to. values: of the chosen member on the items of the report split, by skill.

    unscaled: of the same member with all scales 1.
    """

    chosen: Recipe
    values: Mapping[str, Array]
    unscaled: Mapping[str, Array]
    hypervolume: float

    @property
    def scores(self) -> list[float]:
        """Of the chosen member in every skill."""
        return [float(values.mean()) for values in self.values.values()]


class Exams:
    """Skill scores of recipes on the three splits; every skill of the demo is one task."""

    def __init__(self, examined: Examined) -> None:
        self._examined = examined
        self._skill_of = {split: [item.skill for item in examined.at_work.facts(split).items] for split in Split}
        self.skills = tuple(dict.fromkeys(self._skill_of[Split.SEARCH]))

    def values(self, recipe: Recipe, split: Split) -> dict[str, Array]:
        """Item scores by skill."""
        scores, skill_of = self._examined(recipe, split), np.array(self._skill_of[split])
        return {skill: scores[skill_of == skill] for skill in self.skills}

    def points(self, recipes: Sequence[Recipe], split: Split) -> list[Point]:
        """The skill scores of each."""
        values = (self.values(recipe, split) for recipe in recipes)
        return [tuple(float(scores.mean()) for scores in by_skill.values()) for by_skill in values]


def found(arm: Arm, zoo: Path, eval_sets: Exams, candidates: int, seed: int) -> Found:
    """One search, the member of its front that validation chooses, and both their scores on the report split."""
    job = SearchJob(
        SearchSettings(demo_watchlist().search.population, candidates, None, seed),
        evaluate=lambda recipes: [Outcome(point, None, 0.0) for point in eval_sets.points(recipes, Split.SEARCH)],
        validate=lambda recipes: eval_sets.points(recipes, Split.VALIDATION),
        skills=len(eval_sets.skills),
        on_generation=lambda _: None,
    )
    strategy = arm.strategy(zoo)
    front = [one.recipe for one in strategy.run(job).front] if arm.bred else best_of_random(strategy, job, eval_sets)
    wanted = eval_sets.skills.index(CHOSEN_BY)
    validated = eval_sets.points(front, Split.VALIDATION)
    chosen = front[max(range(len(front)), key=lambda place: validated[place][wanted])]
    reported = eval_sets.points(front, Split.REPORT)
    return Found(
        chosen,
        eval_sets.values(chosen, Split.REPORT),
        eval_sets.values(unscaled(chosen), Split.REPORT),
        hypervolume(reported, (0.0,) * len(eval_sets.skills)),
    )


def unscaled(recipe: Recipe) -> Recipe:
    """The recipe with all scales 1; a mixture of weights has none."""
    if not recipe.hops:
        return recipe
    hops = [replace(hop, scale=1.0) for hop in recipe.hops]
    return path_recipe(recipe.parts, hops, recipe.embedding, recipe.head)


def best_of_random(strategy: SearchStrategy, job: SearchJob, eval_sets: Exams) -> list[Recipe]:
    """The front of a space's seeds and random genomes, as many recipes as the budget has."""
    space: SearchSpace = strategy.paths if isinstance(strategy, PathSearch) else strategy.weight_merges
    genomes = chain(space.seeds(), space.random_genomes(np.random.default_rng(job.settings.seed)))
    drawn: dict[str, Recipe] = {}
    while len(drawn) < job.settings.candidates:
        recipe = space.decode(next(genomes))
        drawn[recipe.digest] = recipe
    recipes = list(drawn.values())
    return [recipes[index] for index in nondominated(eval_sets.points(recipes, Split.SEARCH))]


@dataclass(frozen=True)
class Estimate:
    """A mean and half the width of its interval over seeds, and over seeds and items."""

    mean: float
    seeds: float
    both: float


def over_seeds(values: Array) -> Estimate:
    """Of values [seeds], or [seeds, items]."""
    table = values.reshape(len(values), -1)
    by_seed, by_item = table.mean(axis=1), table.mean(axis=0)
    count = len(by_seed)
    seeds = stats.t.ppf((1 + LEVEL) / 2, count - 1) * by_seed.std(ddof=1) / np.sqrt(count)
    items = 0.0
    if len(by_item) > 1:
        items = stats.norm.ppf((1 + LEVEL) / 2) * by_item.std(ddof=1) / np.sqrt(len(by_item))
    return Estimate(float(by_seed.mean()), float(seeds), float(np.hypot(seeds, items)))


def baseline_values(zoo: Path, eval_sets: Exams) -> list[tuple[str, dict[str, Array]]]:
    """The models themselves and the merges that need no search, each with its item scores on the report split."""
    strategy = ARMS["weights, then paths"].strategy(zoo)
    space = strategy.weight_merges
    singles = {recipe.digest: recipe for recipe in space.singles()}
    named: list[tuple[str, Recipe]] = [
        (folder.name, singles[space.alone(source).digest]) for source, folder in checkpoints(zoo).items()
    ]
    named += strategy.plain_recipes()
    return [(name, eval_sets.values(recipe, Split.REPORT)) for name, recipe in named]


def baseline_lines(zoo: Path, eval_sets: Exams) -> Iterator[str]:
    """A line for each of these."""
    found = baseline_values(zoo, eval_sets)
    values = [by_skill for _, by_skill in found]
    for name, by_skill in found:
        yield f"{name:30}" + "".join(f"  {told(score_interval(list(scores), 0)):18}" for scores in by_skill.values())
    volume = hypervolume([[scores.mean() for scores in one.values()] for one in values], (0.0,) * len(eval_sets.skills))
    yield f"{'all of these':30}" + " " * 20 * len(eval_sets.skills) + f"  {100 * volume:5.1f}"


def told(found: Interval) -> str:
    """A mean and its interval, in points."""
    return f"{100 * found.mean:5.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def row(name: str, results: Sequence[Found]) -> str:
    """An arm's line: every skill of what was chosen, the hypervolume, and what kind of merge that is."""
    skills = [over_seeds(np.array([one.values[skill] for one in results])) for skill in results[0].values]
    volume = over_seeds(np.array([one.hypervolume for one in results]))
    kinds = " ".join(str(one.chosen.depth) if one.chosen.hops else "w" for one in results)
    cells = "".join(f"  {100 * one.mean:5.1f} ± {100 * one.both:4.1f}".ljust(20) for one in (*skills, volume))
    return f"{name:30}{cells}  {kinds}"


def comparison(one: Sequence[Found], other: Sequence[Found]) -> str:
    """What one arm has over another on the same seeds: in the wanted skill of what was chosen, and in hypervolume."""
    pairs = list(zip(one, other, strict=True))
    volume = over_seeds(np.array([a.hypervolume - b.hypervolume for a, b in pairs]))
    gain = gained([(a.values[CHOSEN_BY], b.values[CHOSEN_BY]) for a, b in pairs])
    return f"{gain}   {100 * volume.mean:+6.1f} ± {100 * volume.seeds:4.1f}"


def gained(pairs: Sequence[tuple[Array, Array]]) -> str:
    """What the first of each pair has over the second on the same items, a pair a seed."""
    gain = over_seeds(np.array([one - other for one, other in pairs]))
    return f"{100 * gain.mean:+6.1f} ± {100 * gain.seeds:4.1f} (with items ± {100 * gain.both:4.1f})"


def report(zoo: Path, seeds: int, candidates: int, arms: Mapping[str, Arm]) -> Figures:
    """Run every arm on every seed, print the tables, and return their figures."""
    eval_sets = Exams(Examined(Worker(spec(Resources(1, 1, "cpu", 64), zoo))))
    results: dict[str, list[Found]] = {name: [] for name in arms}
    for seed in range(1, seeds + 1):
        for name, arm in arms.items():
            started = time.monotonic()
            came = found(arm, zoo, eval_sets, candidates, seed)
            results[name].append(came)
            scores = "  ".join(f"{skill} {100 * values.mean():5.1f}" for skill, values in came.values.items())
            volume, seconds = 100 * came.hypervolume, time.monotonic() - started
            print(f"seed {seed}  {name:30} {scores}  hypervolume {volume:5.1f}  {seconds:4.0f} s", flush=True)
    print(f"\n{depth_of_zoo(zoo)} layers, {seeds} seeds, {candidates} candidates each; points on the report split")
    print(
        f"{'':30}"
        + "".join(f"  {title:18}" for title in (*eval_sets.skills, "hypervolume"))
        + "  chosen: w weights, or layers of a path"
    )
    print(*baseline_lines(zoo, eval_sets), sep="\n")
    print(*(row(name, found_so) for name, found_so in results.items()), sep="\n")
    print(f"\n{'difference':60} {CHOSEN_BY:34} hypervolume")
    for one, other in (pair for pair in COMPARED if arms.keys() >= set(pair)):
        print(f"{f'{one} − {other}':60} {comparison(results[one], results[other])}")
    for name, found_so in results.items():
        if any(one.chosen.hops for one in found_so) and arms[name].scales:
            gain = gained([(one.values[CHOSEN_BY], one.unscaled[CHOSEN_BY]) for one in found_so])
            print(f"{f'{name} − the same with all scales 1':60} {gain}")
    return figures(zoo, seeds, candidates, eval_sets, results)


def figures(
    zoo: Path, seeds: int, candidates: int, eval_sets: Exams, results: Mapping[str, Sequence[Found]]
) -> Figures:
    """The wanted skill in points: of every model and plain merge, and of every arm with its interval."""
    plain = {name: float(values[CHOSEN_BY].mean()) for name, values in baseline_values(zoo, eval_sets)}
    rows = []
    for name, found_so in results.items():
        own = over_seeds(np.array([one.values[CHOSEN_BY] for one in found_so]))
        less = over_seeds(np.array([one.unscaled[CHOSEN_BY] - one.values[CHOSEN_BY] for one in found_so]))
        scores = {"mean": 100 * own.mean, "half_width": 100 * own.both}
        without = {"mean": 100 * less.mean, "half_width": 100 * less.both}
        rows.append({"arm": name, CHOSEN_BY: scores, "without_its_scales": without})
    setting = {"layers": depth_of_zoo(zoo), "seeds": seeds, "candidates": candidates}
    return {**setting, "baselines": {name: 100 * score for name, score in plain.items()}, "arms": rows}


def trained(layers: int, zoo: Path) -> Path:
    """A folder with a zoo of so many layers: as it is there, or trained now."""
    if not (zoo / LAST).is_file():
        for name, model in train_zoo(seed=0, layers=layers).items():
            write(model, zoo / name)
    if depth_of_zoo(zoo) != layers:
        sys.exit(f"{zoo}: its models have {depth_of_zoo(zoo)} layers, not {layers}: name another folder")
    return zoo


def main() -> Figures:
    """Read the options, have models trained where that is asked for, and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks spaces", description="Compare search spaces.")
    parser.add_argument("seeds", nargs="?", type=int, default=5, help="searches of each arm, at least 2 (default 5)")
    parser.add_argument("--layers", type=int, help="train models of so many layers")
    parser.add_argument("--zoo", type=Path, help="folder of base, math and language; the demo's by default")
    parser.add_argument("--candidates", type=int, default=150, help="budget of a search (default 150)")
    parser.add_argument("--random", action="store_true", help="add random search as a baseline")
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"seeds: got {asked.seeds}: intervals need at least 2")
    if asked.zoo and not asked.layers and not (asked.zoo / LAST).is_file():
        parser.error(f"--zoo: {asked.zoo} has no {LAST}: give --layers to have it trained")
    with tempfile.TemporaryDirectory() as scratch, quiet():
        zoo = trained(asked.layers, asked.zoo or Path(scratch)) if asked.layers else asked.zoo or WEIGHTS
        arms = {name: arm for name, arm in ARMS.items() if arm.bred or asked.random}
        return report(zoo, asked.seeds, asked.candidates, arms)


if __name__ == "__main__":
    main()
