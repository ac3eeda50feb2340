"""The process pool: what a search survives of its workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from bot.errors import ShoalError
from bot.ledger.ledger import Ledger
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Failure
from bot.scoring.process_pool import DEFAULT_LIMITS, ProcessPool, TimeLimits
from bot.scoring.resources import Resources
from bot.scoring.worker_spec import WorkerSpec
from bot.search.run import search_recipes
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import AS_TASKS_SAY, EvalItem, EvalSetFacts, ItemResults, OwnDrawing, Sample
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.cycles import Listener
from fixtures.folders import ZOO_TASKS
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace
from zoo.repo import BASE, LANGUAGE, MATH, MODELS

SHA = "0" * 40
SOURCES = tuple(ModelId(repo, SHA) for repo in (MATH, LANGUAGE))
GROUPS = Partition.even(2, 1, modules_apart=False, ends_apart=False)
SPACE = WeightMergeSpace.build(
    method="task_arithmetic", sources=SOURCES, base=ModelId(BASE, SHA), groups=GROUPS, dtype="float32", seed=1
)
RECIPES = tuple(SPACE.decode([index, 15]) for index in range(12))

YAML = """
task: fatal
custom_dataset: !function fatal.load
output_type: loglikelihood
test_split: test
doc_to_text: prompt
doc_to_target: answer
process_results: !function fatal.process_results
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""

CODE = '''
import json, os, time
from pathlib import Path
import torch
from datasets import Dataset, DatasetDict

HERE = Path(__file__).parent

def load(**_):
    rows = [json.loads(line) for line in (HERE / "sums.jsonl").read_text().splitlines()[:80]]
    return DatasetDict({"test": Dataset.from_list(rows)})

def process_results(doc, results):
    """Ends the process when the fatal model is being marked, as a crash in native code would; or hangs for good; or
    fails as a GPU does."""
    likelihood, right = results[0]
    with (HERE / "marked.txt").open("a") as marked:
        marked.write(f"{os.getpid()} {likelihood!r}\\n")
    fatal = HERE / "fatal.txt"
    if fatal.exists() and repr(likelihood) in fatal.read_text().split():
        os._exit(23)
    if (HERE / "hang.txt").exists() and repr(likelihood) in (HERE / "hang.txt").read_text().split():
        time.sleep(3600)
    if (HERE / "device.txt").exists() and repr(likelihood) in (HERE / "device.txt").read_text().split():
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")
    return {"acc": float(right)}
'''


def spec(folder: Path) -> WorkerSpec:
    """A spec on the zoo's own weights, with a task that ends its process where `fatal.txt` says."""
    (folder / "fatal.yaml").write_text(YAML)
    (folder / "fatal.py").write_text(CODE)
    sums = ZOO_TASKS / "math_en.jsonl"
    (folder / "sums.jsonl").write_bytes(sums.read_bytes())
    return WorkerSpec(
        kind="language",
        sources=tuple(ModelId(repo, SHA) for repo in (MATH, LANGUAGE, BASE)),
        checkpoints=tuple((ModelId(repo, SHA), MODELS[repo]) for repo in (MATH, LANGUAGE, BASE)),
        config_source=SOURCES[0],
        dtype="float32",
        skills=(Skill("math", (SkillTask("fatal", "acc", None),)),),
        task_folders=(folder,),
        sizes=SplitSizes(12, 10, 10),
        seed=1,
        resources=Resources(2, 1, "cpu", 16),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def workers(folder: Path) -> Iterator[ProcessPool]:
    with ProcessPool(spec(folder)) as workers:
        yield workers


def worker_processes() -> list[psutil.Process]:
    """The living worker processes: forked from a child that is none itself."""
    return [
        worker
        for child in psutil.Process().children()
        for worker in child.children()
        if worker.status() != psutil.STATUS_ZOMBIE and "forkserver" in " ".join(worker.cmdline())
    ]


def scores(workers: ProcessPool, recipes: Sequence[WeightMerge]) -> dict[int, tuple[ItemScore, ...] | Failure]:
    return {
        index: results if isinstance(results, Failure) else results.scores
        for index, results in workers.evaluate(recipes, Split.SEARCH)
    }


def test_a_worker_killed_at_work_is_replaced_and_nothing_is_missing(workers: ProcessPool, folder: Path) -> None:
    undisturbed = scores(workers, RECIPES)
    assert not any(isinstance(answer, Failure) for answer in undisturbed.values())
    assert len(set(undisturbed.values())) > 2  # candidates differ, or a mix-up would not show
    (folder / "marked.txt").unlink()
    victims: list[int] = []

    def kill_the_first_at_work() -> None:
        while not victims:
            if (folder / "marked.txt").exists() and (text := (folder / "marked.txt").read_text()):
                victims.append(int(text.split()[0]))
                os.kill(victims[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first_at_work)
    killer.start()
    disturbed = scores(workers, RECIPES)
    killer.join()
    assert disturbed == undisturbed
    assert victims[0] not in [child.pid for child in worker_processes()]


def test_workers_killed_while_they_wait_are_replaced(workers: ProcessPool) -> None:
    before = scores(workers, RECIPES[:2])
    waiting = worker_processes()
    assert len(waiting) == 2
    assert all(worker.environ()["OMP_WAIT_POLICY"] == "PASSIVE" for worker in waiting)
    for worker in waiting:
        worker.kill()
    while worker_processes():  # not waited for, which their parent has to do
        time.sleep(0.01)
    assert scores(workers, RECIPES[:2]) == before


def test_a_candidate_that_always_ends_its_worker_fails_with_a_reason_and_the_search_goes_on(
    workers: ProcessPool, folder: Path, tmp_path: Path
) -> None:
    """And one without finite logits fails too: neither reaches the optimiser as a number."""
    (folder / "marked.txt").unlink()
    fatal = SPACE.alone(SOURCES[0])
    scores(workers, [fatal])
    (folder / "fatal.txt").write_text((folder / "marked.txt").read_text().split()[1])
    watchlist = Watchlist.model_validate(
        {
            "name": "tiny",
            "watch": {"tags": ("fish",)},
            "skills": ({"name": "math", "tasks": ({"task": "fatal", "metric": "acc"},)},),
            "search": {"population": 4, "budget": {"candidates": 12}, "seed": 3, "racing": None},
            "publish": {"mode": "off"},
        }
    )
    ledger = Ledger(tmp_path / "ledger.sqlite")
    cycle = ledger.begin("tiny", watchlist.digest, datetime.now(UTC)).id
    evaluator = CachedEvaluator(ledger, workers)
    try:
        found = search_recipes(watchlist, WeightMergeSearch(SPACE), evaluator, (), ledger, cycle, Listener())
    finally:
        (folder / "fatal.txt").unlink()
    assert len(found.scored) == 12
    failed = {one.recipe.digest: one.outcome.failure for one in found.scored if one.outcome.objectives is None}
    assert failed == {fatal.digest: "its worker died (exit code 23), also on the second try"}
    entry = ledger.evaluation(fatal.digest, evaluator.facts(Split.SEARCH).digest)
    assert entry is not None and entry.failure == failed[fatal.digest]
    assert ledger.item_values(fatal.digest, [item.digest for item in evaluator.facts(Split.SEARCH).items]) == {}
    assert fatal.digest not in {recipe for recipe, _ in ledger.front(cycle)}


def test_logits_that_are_not_finite_are_a_failure_with_a_reason(workers: ProcessPool) -> None:
    huge = WeightMerge(
        "task_arithmetic", SOURCES, ModelId(BASE, SHA), GROUPS, (("weight", ((1e39,), (1e39,))),), "float32", 0
    )
    answers = scores(workers, [huge, RECIPES[0]])
    assert isinstance(answers[0], Failure) and "not finite" in answers[0].reason
    assert not isinstance(answers[1], Failure)  # the same live model is good for the next


def test_a_candidate_that_hangs_is_ended_with_a_reason_and_the_others_are_scored(
    workers: ProcessPool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(workers, RECIPES[:4])  # all have started
    (folder / "marked.txt").unlink()
    (before,) = scores(workers, RECIPES[:1]).values()
    (folder / "hang.txt").write_text((folder / "marked.txt").read_text().split()[1])
    monkeypatch.setattr(workers, "timeout", 15.0)
    try:
        answers = dict(workers.evaluate(RECIPES[:3], Split.SEARCH))
    finally:
        monkeypatch.undo()
        (folder / "hang.txt").unlink()
    hung = answers[0]
    assert isinstance(hung, Failure) and hung.transient and hung.seconds >= 15
    assert hung.reason == "no scores after 15 seconds; its worker was ended"
    assert not any(isinstance(answers[index], Failure) for index in (1, 2))
    assert scores(workers, RECIPES[:1]) == {0: before}


def test_even_the_first_candidate_is_ended_if_it_hangs(workers: ProcessPool, folder: Path) -> None:
    scores(workers, RECIPES[:3])  # all have started
    (folder / "marked.txt").unlink()
    scores(workers, RECIPES[:1])
    (folder / "hang.txt").write_text((folder / "marked.txt").read_text().split()[1])
    try:
        with ProcessPool(spec(folder), limits=TimeLimits(first=3.0)) as fresh:
            answers = scores(fresh, RECIPES[:1])
    finally:
        (folder / "hang.txt").unlink()
    hung = answers[0]
    assert isinstance(hung, Failure) and hung.reason == "no scores after 3 seconds; its worker was ended"


def test_the_time_limit_follows_the_slowest_candidate(folder: Path) -> None:
    with ProcessPool(spec(folder), limits=TimeLimits(first=600.0, least=0.0, slower=7.0)) as fresh:
        assert fresh.time_limit == 600.0
        results = [answer for _, answer in fresh.evaluate(RECIPES[:4], Split.SEARCH)]
        assert fresh.time_limit == 7.0 * max(answer.seconds for answer in results)
    with ProcessPool(spec(folder), timeout=5.0) as fresh:
        assert fresh.time_limit == 5.0


def test_a_time_limit_is_never_below_the_least() -> None:
    limits = TimeLimits()
    assert limits.seconds(0.0) == 6 * 3600.0
    assert limits.seconds(1.0) == limits.least == 300.0
    assert limits.seconds(60.0) == 600.0


def test_a_worker_whose_gpu_failed_is_replaced_before_the_next_candidate(workers: ProcessPool, folder: Path) -> None:
    before = scores(workers, RECIPES[:3])  # all have started
    (folder / "marked.txt").unlink()
    scores(workers, RECIPES[:1])
    likelihood = (folder / "marked.txt").read_text().split()[1]
    (folder / "device.txt").write_text(likelihood)
    try:
        answers = scores(workers, RECIPES[:3])
    finally:
        (folder / "device.txt").unlink()
    failed = answers.pop(0)
    assert isinstance(failed, Failure) and failed.transient
    assert failed.reason == "AcceleratorError: CUDA error: device-side assert triggered"
    assert answers == {index: before[index] for index in (1, 2)}
    marked = [line.split() for line in (folder / "marked.txt").read_text().splitlines()]
    at_fault = [pid for pid, value in marked if value == likelihood][-1]
    (folder / "marked.txt").unlink()
    assert scores(workers, RECIPES[:3]) == before
    assert at_fault not in (folder / "marked.txt").read_text().split()


def test_every_recipe_answers_its_rounds_in_one_worker_with_the_scores_of_the_whole(folder: Path) -> None:
    found: dict[int, list[ItemScore]] = {index: [] for index in range(4)}
    with ProcessPool(replace(spec(folder), rounds=2, sizes=SplitSizes(24, 10, 10))) as workers:
        eval_set = workers.facts(Split.SEARCH)
        whole = scores(workers, RECIPES[:4])
        (folder / "marked.txt").unlink()

        def next_round(index: int, answer: ItemResults | Failure) -> int | None:
            assert isinstance(answer, ItemResults)
            found[index] += answer.scores
            return 1 if answer.eval_set == eval_set.rounds[0].digest else None

        workers.evaluate_rounds(RECIPES[:4], Split.SEARCH, [0, 0, 1, 0], next_round)
        marks = Counter(line.split()[0] for line in (folder / "marked.txt").read_text().splitlines())
    assert [len(facts.items) for facts in eval_set.rounds] == [12, 12]
    assert sum(facts.cost for facts in eval_set.rounds) == pytest.approx(1)
    assert found[2] == [one for one in whole[2] if one.item in {item.item for item in eval_set.rounds[1].items}]
    assert all(set(found[index]) == set(whole[index]) for index in (0, 1, 3))
    assert len(marks) == 2 and all(count % 24 in (0, 12) for count in marks.values()) and sum(marks.values()) == 84


def test_a_worker_killed_between_two_rounds_is_replaced_and_the_recipe_goes_on(folder: Path) -> None:
    found: list[tuple[ItemScore, ...]] = []
    with ProcessPool(replace(spec(folder), rounds=2, sizes=SplitSizes(24, 10, 10))) as workers:
        assert workers.facts(Split.SEARCH).rounds

        def next_round(_index: int, answer: ItemResults | Failure) -> int | None:
            assert isinstance(answer, ItemResults)
            found.append(answer.scores)
            if len(found) > 1:
                return None
            for worker in worker_processes():
                worker.kill()
            return 1

        workers.evaluate_rounds(RECIPES[:1], Split.SEARCH, [0], next_round)
        assert workers.time_limit == DEFAULT_LIMITS.least  # it follows the slowest round, as it does whole evaluations
        undisturbed = scores(workers, RECIPES[:1])[0]
    assert not isinstance(undisturbed, Failure) and {*found[0], *found[1]} == set(undisturbed)


def test_workers_that_cannot_start_end_the_run_in_one_line(folder: Path) -> None:
    broken = replace(spec(folder), resources=Resources(1, 0, "cpu", 16))  # torch refuses to have no thread
    message = r"^the evaluation set of the search split cannot be built: its worker died \(exit code 1\)"
    with ProcessPool(broken) as workers, pytest.raises(ShoalError, match=message):
        workers.facts(Split.SEARCH)


class NobodyThere:
    """An evaluator that must not be asked."""

    def __init__(self, facts: dict[Split, EvalSetFacts]) -> None:
        self._facts = facts

    @property
    def width(self) -> int:
        return 2

    def facts(self, split: Split) -> EvalSetFacts:
        return self._facts[split]

    def evaluate(
        self,
        recipes: Sequence[WeightMerge],
        split: Split,  # noqa: ARG002
    ) -> Iterator[tuple[int, ItemResults | Failure]]:
        assert not recipes, "the ledger knew"
        return iter(())

    def evaluate_rounds(self, recipes: Sequence[WeightMerge], *_: object) -> None:
        assert not recipes, "the ledger knew"

    def evaluate_folder(self, folder: Path, split: Split, own: OwnDrawing = AS_TASKS_SAY) -> ItemResults | Failure:
        raise AssertionError(f"nobody asked for {folder} on {split} in {own}")

    def ask(self, folder: Path, items: Sequence[EvalItem], own: OwnDrawing = AS_TASKS_SAY) -> Sample | Failure:
        raise AssertionError(f"nobody asked {folder} one of {len(items)} items in {own}")

    def ask_candidate(self, recipe: Recipe, item: EvalItem) -> Sample | Failure:
        raise AssertionError(f"nobody asked {recipe.digest} {item.item}")


def test_a_folder_that_cannot_be_asked_is_a_failure_with_its_reason(workers: ProcessPool, tmp_path: Path) -> None:
    answer = workers.ask(tmp_path, workers.facts(Split.REPORT).items[:1])
    assert isinstance(answer, Failure) and str(tmp_path) in answer.reason


def test_the_cache_answers_from_the_ledger_without_asking_the_evaluator(workers: ProcessPool, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    done: list[int] = []
    first = CachedEvaluator(ledger, workers).evaluate(RECIPES[:4], Split.SEARCH, lambda: done.append(1))
    again = CachedEvaluator(Ledger(ledger.path), NobodyThere({Split.SEARCH: workers.facts(Split.SEARCH)}))
    assert again.evaluate(RECIPES[:4], Split.SEARCH, lambda: done.append(1)) == first
    assert len(done) == 8 and all(one.seconds > 0 for one in first)
