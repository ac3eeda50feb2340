"""Seconds for one candidate of the demo: shoal's way against a merge on disk for each candidate.

    python -m benchmarks.candidate_cost [CANDIDATES]

The other way is that of the systems beside shoal, with their own parts: mergekit writes the merged checkpoint,
transformers loads it, and lm-eval's `evaluate` scores it, the tasks being loaded once. (They call `simple_evaluate`,
which describes the machine each time besides.) Both sides take the same recipes and score them on the same items,
those of the search, in one process with one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.zoo_bench import bench, checkpoints, demo_watchlist, random_recipes
from bot.scoring.bench import BenchAtWork
from bot.scoring.machine import Crew
from evaluation.harness import quiet
from evaluation.identity import item_id
from evaluation.splits import Split
from evaluation.tasks import divisions, load_tasks
from merging.checkpoint import Checkpoint
from merging.mergekit_yaml import to_mergekit_yaml
from merging.recipe import Recipe

BATCH = 64
CREW = Crew(1, 1, "cpu", BATCH)


def in_memory() -> Callable[[Recipe], object]:
    """shoal: rewrite the live model, put the exam to it."""
    at_work = BenchAtWork(bench(CREW))

    return lambda recipe: at_work.score(recipe, Split.SEARCH)


def search_tasks() -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The demo's tasks as lm-eval takes them, by name, and where in each it finds the items of the search."""
    exam = bench(CREW)
    loaded = load_tasks(exam.skills, exam.task_folders)
    samples = {}
    for name, division in divisions(loaded, exam.seed, exam.sizes).items():
        config = loaded[name].task.config
        if division.own_search:  # lm-eval asks test documents alone
            config.test_split = config.training_split
        places = {item_id(doc): place for place, doc in enumerate(loaded[name].task.eval_docs)}
        # lm-eval takes the documents in their own order, and would name them wrongly in any other.
        samples[name] = sorted(places[item] for item in division.items[Split.SEARCH])
    return {name: one.task for name, one in loaded.items()}, samples


def on_disk() -> Callable[[Recipe], tuple[float, ...]]:
    """mergekit to a folder, `from_pretrained`, lm-eval's `evaluate`; gives the score of each skill."""
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    watchlist = demo_watchlist()
    folders = checkpoints()
    names = Checkpoint.open(next(iter(folders.values()))).names
    tasks, samples = search_tasks()

    def score(recipe: Recipe) -> tuple[float, ...]:
        text = to_mergekit_yaml(recipe, names, {source: str(folder) for source, folder in folders.items()})
        with tempfile.TemporaryDirectory() as folder:
            config = MergeConfiguration.model_validate(yaml.safe_load(text))
            options = MergeOptions(device="cpu", copy_tokenizer=True, quiet=True, write_model_card=False)
            run_merge(config, folder, options)
            model = HFLM(pretrained=str(Path(folder)), batch_size=BATCH, dtype="float32", device="cpu")
            found: Any = evaluate(model, {"tasks": tasks}, samples=samples, bootstrap_iters=0, log_samples=False)
        uses = [skill.tasks[0] for skill in watchlist.skills]
        return tuple(float(found["results"][use.task][f"{use.metric},{use.filter or 'none'}"]) for use in uses)

    return score


def seconds_each(score: Callable[[Recipe], object], recipes: Sequence[Recipe]) -> float:
    """Mean seconds of a candidate after one to warm up."""
    score(recipes[0])
    started = time.monotonic()
    for recipe in recipes[1:]:
        score(recipe)
    return (time.monotonic() - started) / (len(recipes) - 1)


def main() -> None:
    """Measure both and print the ratio."""
    candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    recipes = random_recipes(candidates + 1, seed=3)
    with quiet():
        ours, theirs = seconds_each(in_memory(), recipes), seconds_each(on_disk(), recipes)
    print(f"shoal, in memory:            {ours:.3f} s a candidate")
    print(f"mergekit + disk + lm-eval:   {theirs:.3f} s a candidate")
    print(f"ratio:                       {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
