"""Worker processes on a GPU: the same scores as on the CPU, and what a search survives there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bot.scoring.evaluator import Failure
from bot.scoring.process_pool import ProcessPool
from bot.scoring.resources import Resources, choose_device, inspect_machine, plan_resources
from bot.scoring.worker_spec import WorkerSpec
from bot.watchlist.sections import WorkersSection
from evaluation.eval_set import ItemResults
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from evaluation.suites import WRITTEN
from fixtures.folders import ZOO_TASKS
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.spaces.weight_merges import WeightMergeSpace
from merging.writing.release import write_release
from zoo.repo import BASE, LANGUAGE, MATH, MODELS

FOLDERS = {ModelId(repo, "0" * 40): MODELS[repo] for repo in (MATH, LANGUAGE, BASE)}
*SOURCES, GROUND = FOLDERS
GROUPS = Partition.even(2, 1, modules_apart=False, ends_apart=False)

YAML = """
task: faulty
custom_dataset: !function faulty.load
output_type: loglikelihood
test_split: test
doc_to_text: prompt
doc_to_target: answer
process_results: !function faulty.process_results
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""

CODE = """
import json
from pathlib import Path
import torch
from datasets import Dataset, DatasetDict

HERE = Path(__file__).parent

def load(**_):
    rows = [json.loads(line) for line in (HERE / "sums.jsonl").read_text().splitlines()[:80]]
    return DatasetDict({"test": Dataset.from_list(rows)})

def process_results(doc, results):
    '''Does what fault.txt says on the device that device.txt names.'''
    device = (HERE / "device.txt").read_text()
    fault = (HERE / "fault.txt").read_text() if (HERE / "fault.txt").exists() else ""
    if fault == "memory":
        torch.empty(2**50, dtype=torch.uint8, device=device)
    if fault == "assert":
        torch.zeros(4, device=device)[torch.tensor([9], device=device)].sum().item()
    return {"acc": float(results[0][1])}
"""


def recipes(dtype: str = "float32") -> list[WeightMerge]:
    space = WeightMergeSpace.build(
        method="task_arithmetic", sources=SOURCES, base=GROUND, groups=GROUPS, dtype=dtype, seed=1
    )
    return [space.decode([index, 15]) for index in range(0, 20, 4)]


def make_spec(folder: Path, device: str, dtype: str = "float32") -> WorkerSpec:
    """Two workers, which share the device; items with likelihoods and with texts."""
    (folder / "faulty.yaml").write_text(YAML)
    (folder / "faulty.py").write_text(CODE)
    (folder / "device.txt").write_text(device)
    (folder / "sums.jsonl").write_bytes((ZOO_TASKS / "math_en.jsonl").read_bytes())
    return WorkerSpec(
        kind="language",
        sources=tuple(FOLDERS),
        checkpoints=tuple(FOLDERS.items()),
        config_source=SOURCES[0],
        dtype=dtype,
        skills=(
            Skill("math", (SkillTask("faulty", "acc", None),)),
            Skill("cross", (SkillTask("zoo_math_ja", "acc", None),)),
        ),
        task_folders=(folder, ZOO_TASKS),
        sizes=SplitSizes(24, 10, 10),
        seed=1,
        resources=Resources(2, 1, device, 16),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module")
def workers(folder: Path, device: str) -> Iterator[ProcessPool]:
    with ProcessPool(make_spec(folder, device)) as workers:
        yield workers


@pytest.fixture
def fault(folder: Path) -> Iterator[Path]:
    yield folder / "fault.txt"
    (folder / "fault.txt").unlink(missing_ok=True)


def values_of(results: ItemResults | Failure) -> list[float]:
    assert isinstance(results, ItemResults), results
    return [score.value for score in results.scores]


def values(workers: ProcessPool, asked: Sequence[WeightMerge]) -> list[list[float]]:
    return [values_of(results) for _, results in sorted(workers.evaluate(asked, Split.SEARCH), key=lambda one: one[0])]


def test_the_workers_scores_are_those_of_the_cpu(workers: ProcessPool, device: str, tmp_path: Path) -> None:
    found = values(workers, recipes())
    assert len({tuple(scores) for scores in found}) > 2
    assert workers.facts(Split.SEARCH).digest  # the digest differs by device, for a GPU may round otherwise
    with ProcessPool(replace(make_spec(tmp_path, "cpu"), resources=Resources(1, 1, "cpu", 16))) as on_cpu:
        assert values(on_cpu, recipes()) == found
        same = on_cpu.facts(Split.SEARCH).digest == workers.facts(Split.SEARCH).digest
    assert same == (device == "cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_written_release_scores_item_by_item_as_its_candidate_did(dtype: str, device: str, tmp_path: Path) -> None:
    recipe = recipes(dtype)[2]
    weights = {source: Checkpoint.open(path) for source, path in FOLDERS.items()}
    write_release(recipe, weights, tmp_path / "release", {}, config_source=FOLDERS[SOURCES[0]])
    with ProcessPool(replace(make_spec(tmp_path, device, dtype), resources=Resources(1, 1, device, 16))) as workers:
        (candidate,) = values(workers, [recipe])
        assert values_of(workers.evaluate_folder(tmp_path / "release", Split.SEARCH)) == candidate
        assert 0 < sum(candidate) < len(candidate)


def test_logits_that_are_not_finite_are_a_failure_with_a_reason(workers: ProcessPool) -> None:
    huge = WeightMerge(
        "task_arithmetic", tuple(SOURCES), GROUND, GROUPS, (("weight", ((1e15,), (1e15,))),), "float32", 0
    )
    good = recipes()[0]
    answers = dict(workers.evaluate([huge, good, huge], Split.SEARCH))
    for index in (0, 2):
        failed = answers[index]
        assert isinstance(failed, Failure) and failed.reason.startswith("NotFiniteError: the model's logits")
    assert [values_of(answers[1])] == values(workers, [good])


def test_a_lack_of_memory_is_no_fault_of_the_candidate(workers: ProcessPool, fault: Path) -> None:
    before = values(workers, recipes())
    fault.write_text("memory")
    failed = [answer for _, answer in workers.evaluate(recipes(), Split.SEARCH)]
    assert all(isinstance(answer, Failure) and answer.transient and "memory" in answer.reason for answer in failed)
    fault.unlink()
    assert values(workers, recipes()) == before


def test_a_worker_whose_gpu_refuses_all_work_is_replaced(workers: ProcessPool, fault: Path, device: str) -> None:
    if device != "cuda":
        pytest.skip("only a GPU can end in this state")
    before = values(workers, recipes())
    fault.write_text("assert")
    failed = [answer for _, answer in workers.evaluate(recipes()[:2], Split.SEARCH)]
    assert all(
        isinstance(answer, Failure) and answer.transient and answer.reason.startswith("AcceleratorError")
        for answer in failed
    )
    fault.unlink()
    assert values(workers, recipes()) == before


def test_one_worker_with_all_cores_serves_a_gpu(device: str) -> None:
    asked = WorkersSection(device="auto" if device == "cuda" else "cpu")
    machine = inspect_machine(asked.device)
    assert choose_device(machine, asked) == device
    planned = plan_resources(machine, 2**30, asked, WRITTEN)
    assert planned.device == device and planned.batch_size == 16
    if device == "cuda":
        assert machine.cuda_devices >= 1
        assert (planned.workers, planned.threads) == (1, machine.cores)
