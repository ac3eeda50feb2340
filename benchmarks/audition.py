"""What an audition finds beside choosing sources by downloads, on the same total budget of item scores.

    python -m benchmarks audition [--seeds N] [--candidates N] [--bases half whole]

For every seed a zoo is trained anew: a base; the demo's two specialists of it; and six models that nobody needs, of
which three are irrelevant (tuned to digits, tuned to single words, shaken a little) and three are harmful (tuned far
too hotly, noised, pruned). All eight fit, a merge may have four, and the six are downloaded more often. Every arm has
the same budget of item scores, those of the audition and of the baselines included. Hypervolume is that of the front
above 0 in every skill: on the search split, and of the same front on the validation split, which no arm has seen.

There are two bases. The demo's whole one does sums almost as well as its specialist, so that this one adds hardly
anything by itself, though its merges gain by it: the case that an audition of single models cannot see. The other one
is trained half as long, and both specialists know more than it does.

Arms: the audition; the four most downloaded; four of the eight at random (downloads that say nothing); and the two
specialists alone, as if a person had known them. Differences are paired by seed, with 95 % t-intervals.
"""

from __future__ import annotations

import argparse
import copy
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from transformers import LlamaForCausalLM

from benchmarks.racing import Notes, Recalled
from benchmarks.record import Figures
from benchmarks.zoo_bench import Examined, demo_watchlist, spec
from bot.ledger.ledger import Ledger
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from bot.search.audition import Contender, choose_sources
from bot.search.comparisons import read_skill_values
from bot.search.run import search_recipes
from bot.search.strategies.weight_merges import WeightMergeSearch
from evaluation.eval_set import EvalSetFacts
from evaluation.scores import skill_scores
from evaluation.splits import Split
from merging.evolution.pareto import hypervolume
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace
from zoo.train import COURSES, LAYERS, Course, train, train_zoo, write

GOOD = ("math", "language")
BAD = ("hot", "digits", "noise", "words", "pruned", "shaken")
"""The most downloaded first."""

PLACES = 4
MODELS = ("base", *GOOD, *BAD)

BASE_STEPS = {"half": COURSES["base"].steps // 2, "whole": COURSES["base"].steps}
_TUNED: Mapping[str, Course] = {
    "digits": replace(COURSES["math"], mix={"bare_sum": 1.0}, steps=60),
    "words": replace(COURSES["language"], mix={"basic_language": 1.0}, steps=60),
    "hot": replace(COURSES["math"], steps=60, adamw=0.1, muon=0.5),
}


@dataclass(frozen=True)
class Found:
    """What an arm found: its sources, hypervolumes, and the item scores that it took in all."""

    sources: tuple[str, ...]
    search: float
    validation: float
    item_scores: int


def main() -> Figures:
    """Compare the arms for every seed, and print and return their means and differences."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks audition")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=200, help="full scorings of the whole budget")
    parser.add_argument("--bases", nargs="+", choices=BASE_STEPS, default=list(BASE_STEPS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    zoos = []
    for base in asked.bases:
        arms = summarise([compare(base, seed, asked.candidates) for seed in range(1, asked.seeds + 1)])
        for arm in arms:
            print(f"{base} base: {arm}")
        zoos.append({"base": base, "arms": arms})
    return {"seeds": asked.seeds, "candidates": asked.candidates, "places": PLACES, "zoos": zoos}


def train_models(base: str, seed: int, folder: Path) -> None:
    """Write the zoo of a seed and the six others."""
    models = train_zoo(seed, {**COURSES, "base": replace(COURSES["base"], steps=BASE_STEPS[base])})
    for name, course in _TUNED.items():
        models[name] = copy.deepcopy(models["base"])
        train(name, course, models[name], seed)
    models["shaken"] = _spoil(models["base"], seed, noise=0.03)
    models["noise"] = _spoil(models["base"], seed, noise=0.5)
    models["pruned"] = _spoil(models["base"], seed, pruned=0.5)
    for name, model in models.items():
        write(model, folder / name)


@torch.no_grad()
def _spoil(model: LlamaForCausalLM, seed: int, *, noise: float = 0.0, pruned: float = 0.0) -> LlamaForCausalLM:
    """A copy with random noise, as a share of each matrix's own spread, or with a share of each matrix set to 0."""
    generator, spoilt = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    for weight in (parameter for parameter in spoilt.parameters() if parameter.ndim == 2):
        weight += noise * weight.std() * torch.randn(weight.shape, generator=generator)
        weight *= torch.rand(weight.shape, generator=generator) >= pruned
    return spoilt


def compare(base: str, seed: int, candidates: int) -> dict[str, Found]:
    """All arms of one seed, on a zoo that is trained for it."""
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        train_models(base, seed, Path(folder))
        return run_arms(Path(folder), seed, candidates)


def run_arms(zoo: Path, seed: int, candidates: int) -> dict[str, Found]:
    """All arms on one zoo."""
    worker = Worker(worker_spec(zoo))
    examined = Examined(worker)
    facts = worker.facts(Split.SEARCH)
    evaluator = Recalled(lambda recipe: examined(recipe, Split.SEARCH), facts, None)
    by_downloads = (*BAD, *GOOD)
    at_random = tuple(random.Random(seed).sample(by_downloads, PLACES))
    arms: dict[str, Sequence[str] | None] = {
        "audition": None,
        "most downloaded": by_downloads[:PLACES],
        "at random": at_random,
        "the two specialists": GOOD,
    }
    found = {name: run(sources, by_downloads, seed, candidates, evaluator, examined) for name, sources in arms.items()}
    for name, one in found.items():
        print(f"seed {seed}, {name}: {', '.join(one.sources)}; {one.search:.4f} {one.validation:.4f}", flush=True)
    return found


def worker_spec(zoo: Path) -> WorkerSpec:
    """The demo's worker for all models of the zoo."""
    made = spec(Resources(1, 1, "cpu", 64))
    folders = {identity(name): zoo / name for name in MODELS}
    return replace(
        made,
        sources=tuple(folders),
        checkpoints=tuple(folders.items()),
        config_source=identity(GOOD[0]),
        rounds=demo_watchlist().rounds,
    )


def identity(name: str) -> ModelId:
    """A model of the zoo in recipes."""
    return ModelId(f"reef/{name}", "0" * 40)


def run(
    sources: Sequence[str] | None,
    ranked: Sequence[str],
    seed: int,
    candidates: int,
    evaluator: Recalled,
    examined: Examined,
) -> Found:
    """One arm from an empty ledger. sources: None to have an audition choose; ranked: all models, best first."""
    watchlist, facts = demo_watchlist(), evaluator.facts(Split.SEARCH)
    evaluator.begin()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC)).id
        cached = CachedEvaluator(ledger, evaluator)
        chosen = tuple(sources or hold_audition(cached, ranked))
        space = make_space(chosen)
        baselines = cached.evaluate([*space.singles(), *(recipe for _, recipe in space.plain_recipes())], Split.SEARCH)
        left = candidates - round(evaluator.spent.items / len(facts.items))
        budget = watchlist.search.budget.model_copy(update={"candidates": left})
        settings = watchlist.search.model_copy(update={"seed": seed, "budget": budget})
        watchlist = watchlist.model_copy(update={"search": settings})
        result = search_recipes(watchlist, WeightMergeSearch(space), cached, baselines, ledger, cycle, Notes(evaluator))
        ledger.close()
    spent = evaluator.spent.items
    front = [scored.recipe for scored in result.front]
    volumes = [
        hypervolume([points(examined, recipe, split) for recipe in front], [0.0] * len(watchlist.skills))
        for split in (Split.SEARCH, Split.VALIDATION)
    ]
    return Found(chosen, *volumes, spent)


def hold_audition(cached: CachedEvaluator, ranked: Sequence[str]) -> list[str]:
    """The sources that an audition chooses, on all rounds but the last, which have half of the items."""
    facts, skills = cached.facts(Split.SEARCH), demo_watchlist().evaluation_skills
    names = ("base", *ranked)
    recipes = [make_space(GOOD).alone(identity(name)) for name in names]
    answered: dict[str, list[Evaluation]] = {name: [] for name in names}

    def next_round(index: int, evaluation: Evaluation) -> int | None:
        answered[names[index]].append(evaluation)
        done = len(answered[names[index]])
        return done if done < len(facts.rounds) - 1 else None

    cached.evaluate_rounds(recipes, Split.SEARCH, [0] * len(names), next_round)

    def contender(name: str) -> Contender:
        scores = tuple(score for evaluation in answered[name] for score in evaluation.scores)
        whole = replace(answered[name][0], scores=scores)
        return Contender(name, read_skill_values(whole, skills, dict(facts.directions)))

    base, *others = map(contender, names)
    return [one.name for one in choose_sources(others, [base], PLACES) if one.chosen]


def make_space(sources: Sequence[str]) -> WeightMergeSpace:
    """The demo's space over some models of the zoo."""
    search = demo_watchlist().search
    return WeightMergeSpace.build(
        method=search.method,
        sources=[identity(name) for name in sources],
        base=identity("base"),
        groups=Partition.even(LAYERS, search.groups.layers, modules_apart=True, ends_apart=True),
        dtype=search.dtype,
        seed=0,
        step=search.step,
    )


def points(examined: Examined, recipe: WeightMerge, split: Split) -> tuple[float, ...]:
    """A recipe's scores on a split, skill by skill."""
    facts: EvalSetFacts = examined.at_work.facts(split)
    scores = [item.scored(float(value), None) for item, value in zip(facts.items, examined(recipe, split), strict=True)]
    return tuple(skill_scores(demo_watchlist().evaluation_skills, dict(facts.directions), scores).values())


def summarise(rows: Sequence[Mapping[str, Found]]) -> list[dict[str, object]]:
    """Every arm's means, and the audition's lead over it, with 95 % t-intervals over the seeds."""
    found: list[dict[str, object]] = []
    for arm in rows[0]:
        row: dict[str, object] = {"arm": arm, "sources": [one[arm].sources for one in rows]}
        row["item_scores"] = round(float(np.mean([one[arm].item_scores for one in rows])))
        for split in ("search", "validation"):
            own = np.array([getattr(one[arm], split) for one in rows])
            lead = np.array([getattr(one["audition"], split) for one in rows]) - own
            row[split] = interval(own) | {"lead_of_the_audition": interval(lead) if arm != "audition" else None}
        found.append(row)
    return found


def interval(values: np.ndarray) -> dict[str, float]:
    """The mean over seeds, and half the width of its 95 % t-interval; 0 for a single seed."""
    count = len(values)
    half = float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5) if count > 1 else 0.0
    return {"mean": float(values.mean()), "half_width": half}


if __name__ == "__main__":
    main()
