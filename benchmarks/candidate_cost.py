"""Seconds for one candidate of the demo: shoal's way against a merge on disk for each candidate.

    python -m benchmarks candidate_cost [CANDIDATES]

The other way is that of the systems beside shoal, with their own parts: mergekit writes the merged checkpoint,
transformers loads it, and lm-eval's `simple_evaluate` scores it, the tasks being loaded once. For each candidate that
also describes the machine (its packages, processor and the like), which says nothing about scoring: the ratio is told
with these seconds and without. Both sides take the same recipes and score them on the same items, those of the search,
in one process with one thread.
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

from benchmarks.record import Figures
from benchmarks.zoo_bench import demo_watchlist, random_recipes, spec
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from evaluation.harness.loading import load_tasks
from evaluation.harness.process_state import quiet
from evaluation.harness.tasks import divide_tasks
from evaluation.items import item_id
from evaluation.splits import Split
from merging.mergekit.writer import to_mergekit_yaml
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint

BATCH = 64
CREW = Resources(1, 1, "cpu", BATCH)


def in_memory(work: WorkerSpec) -> Callable[[WeightMerge], object]:
    """shoal: rewrite the live model, put the exam to it."""
    at_work = Worker(work)

    return lambda recipe: at_work.evaluate(recipe, Split.SEARCH)


def search_tasks() -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The demo's tasks as lm-eval takes them, by name, and where in each it finds the items of the search."""
    eval_set = spec(CREW)
    loaded = load_tasks(eval_set.skills, eval_set.task_folders)
    samples = {}
    for name, division in divide_tasks(eval_set.skills, loaded, eval_set.seed, eval_set.sizes).items():
        config = loaded[name].task.config
        if division.own_search:  # lm-eval asks test documents alone
            config.test_split = config.training_split
        places = {item_id(doc): place for place, doc in enumerate(loaded[name].task.eval_docs)}
        # lm-eval takes the documents in their own order, and would name them wrongly in any other.
        samples[name] = sorted(places[item] for item in division.items[Split.SEARCH])
    return {name: one.task for name, one in loaded.items()}, samples


class OnDisk:
    """mergekit to a folder, `from_pretrained`, `simple_evaluate`.

    work: the models, their dtype and the device. report_seconds: what describing the machine took so far.
    """

    def __init__(self, work: WorkerSpec) -> None:
        from lm_eval.tasks import TaskManager

        self._watchlist = demo_watchlist()
        self._folders = dict(work.checkpoints)
        self._dtype, self._device = work.dtype, work.resources.device
        self._names = Checkpoint.open(next(iter(self._folders.values()))).names
        self._tasks, self._samples = search_tasks()
        self._manager = TaskManager(include_defaults=False)  # without one, each candidate would list all tasks anew
        self.report_seconds = 0.0
        self._time_reports()

    def __call__(self, recipe: WeightMerge) -> tuple[float, ...]:
        """The score of each skill."""
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from mergekit.config import MergeConfiguration
        from mergekit.merge import MergeOptions, run_merge

        text = to_mergekit_yaml(recipe, self._names, {source: str(folder) for source, folder in self._folders.items()})
        with tempfile.TemporaryDirectory() as folder:
            config = MergeConfiguration.model_validate(yaml.safe_load(text))
            options = MergeOptions(device=self._device, copy_tokenizer=True, quiet=True, write_model_card=False)
            run_merge(config, folder, options)
            model = HFLM(pretrained=str(Path(folder)), batch_size=BATCH, dtype=self._dtype, device=self._device)
            tasks = list(self._tasks.values())
            found: Any = simple_evaluate(
                model,
                tasks=tasks,
                samples=self._samples,
                task_manager=self._manager,
                bootstrap_iters=0,
                log_samples=False,
            )
        uses = [skill.tasks[0] for skill in self._watchlist.skills]
        return tuple(float(found["results"][use.task][f"{use.metric},{use.filter or 'none'}"]) for use in uses)

    def _time_reports(self) -> None:
        from lm_eval import evaluator

        describe = evaluator.add_env_info

        def timed(results: dict[str, Any]) -> None:
            started = time.monotonic()
            describe(results)
            self.report_seconds += time.monotonic() - started

        evaluator.add_env_info = timed


def seconds_each(score: Callable[[WeightMerge], object], recipes: Sequence[WeightMerge]) -> float:
    """Mean seconds of a candidate after one to warm up."""
    score(recipes[0])
    started = time.monotonic()
    for recipe in recipes[1:]:
        score(recipe)
    return (time.monotonic() - started) / (len(recipes) - 1)


def compare(work: WorkerSpec, recipes: Sequence[WeightMerge]) -> Figures:
    """Measure both ways on all recipes but the first, and print the ratio."""
    on_disk = OnDisk(work)
    with quiet():
        ours, theirs = seconds_each(in_memory(work), recipes), seconds_each(on_disk, recipes)
    report = on_disk.report_seconds / len(recipes)
    print(f"shoal, in memory:            {ours:.3f} s a candidate")
    print(f"mergekit + disk + lm-eval:   {theirs:.3f} s a candidate, {report:.3f} s of it to describe the machine")
    print(f"ratio:                       {theirs / ours:.1f}, without the description {(theirs - report) / ours:.1f}")
    return {
        "candidates": len(recipes) - 1,
        "shoal_s": ours,
        "peers_s": theirs,
        "of_it_describing_the_machine_s": report,
    }


def main() -> Figures:
    """Compare on the demo's models."""
    candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    return compare(spec(CREW), random_recipes(candidates + 1, seed=3))


if __name__ == "__main__":
    main()
