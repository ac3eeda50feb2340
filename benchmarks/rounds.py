"""Processor time of an evaluation in rounds, as a race asks it, against the whole evaluation at once.

    python -m benchmarks rounds [ITEMS …] [--dtype DTYPE]

Models are random Llamas of 0.1 billion parameters; each of ITEMS items of a task (200, and 64) is asked behind five
examples: choices among four answers, and generated answers. One process with one thread scores merges, each of which
changes every weight: once whole, once in rounds one after the other, as a candidate of a race that stays to the end,
and once in rounds that another candidate interrupts, so that weights and prefixes are made anew in each of them. What
is counted is the processor time of the process. Claim: the rounds of one candidate cost at most 1.1 × the whole.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from benchmarks.random_models import random_llamas
from benchmarks.record import Figures
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace

ROUNDS, SHOTS = 5, 5
QUESTION_WORDS, ANSWER_WORDS, CHOICES = 30, 4, 4

CHOICE = """
task: rounds_choice
custom_dataset: !function load.load
dataset_kwargs: {test: items.jsonl}
output_type: multiple_choice
test_split: test
fewshot_split: test
doc_to_text: question
doc_to_choice: choices
doc_to_target: 0
metric_list: [{metric: acc}]
"""

GENERATION = """
task: rounds_generation
custom_dataset: !function load.load
dataset_kwargs: {test: items.jsonl}
output_type: generate_until
test_split: test
fewshot_split: test
doc_to_text: question
doc_to_target: "{{ choices[0] }}"
generation_kwargs: {until: ["</s>"], do_sample: false, max_gen_toks: 12}
metric_list: [{metric: exact_match}]
"""

LOADER = """
import json
from pathlib import Path
from datasets import Dataset, DatasetDict

def load(test, **_):
    rows = [json.loads(line) for line in (Path(__file__).parent / test).read_text().splitlines()]
    return DatasetDict({"test": Dataset.from_list(rows)})
"""


def write_tasks(folder: Path, items: int) -> Path:
    """Two tasks on the same random questions; three times as many items as one split needs, and spare ones."""
    draw = random.Random(1)

    def say(count: int) -> str:
        return " ".join(f"w{draw.randrange(30_000)}" for _ in range(count))

    docs = [
        {"question": say(QUESTION_WORDS), "choices": [say(ANSWER_WORDS) for _ in range(CHOICES)]}
        for _ in range(4 * items + 20)
    ]
    folder.mkdir()
    (folder / "items.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (folder / "choice.yaml").write_text(CHOICE)
    (folder / "generation.yaml").write_text(GENERATION)
    (folder / "load.py").write_text(LOADER)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of one token a word."""
    words = {word: index for index, word in enumerate(["</s>", *(f"w{number}" for number in range(31_999))])}
    plain = Tokenizer(WordLevel(words, unk_token="</s>"))
    plain.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>", unk_token="</s>").save_pretrained(folder)


def make_worker(folder: Path, items: int, dtype: str) -> tuple[Worker, WeightMergeSpace]:
    """A worker in this process, and the space of its candidates."""
    folders = random_llamas(folder, 0.1e9)
    for model in folders:
        write_tokenizer(model)
    sources = [ModelId(f"random/{model.name}", "0" * 40) for model in folders]
    spec = WorkerSpec(
        kind="language",
        sources=tuple(sources),
        checkpoints=tuple(zip(sources, folders, strict=True)),
        config_source=sources[0],
        dtype=dtype,
        skills=(
            Skill("choice", (SkillTask("rounds_choice", "acc", num_fewshot=SHOTS),)),
            Skill("generation", (SkillTask("rounds_generation", "exact_match", num_fewshot=SHOTS),)),
        ),
        task_folders=(write_tasks(folder / "tasks", items),),
        sizes=SplitSizes(items, items, items),
        seed=0,
        resources=Resources(1, 1, "cpu", 16),
        rounds=ROUNDS,
    )
    layers = json.loads((folders[0] / "config.json").read_text())["num_hidden_layers"]
    space = WeightMergeSpace.build(
        method="task_arithmetic",
        sources=sources[1:],
        base=sources[0],
        groups=Partition.even(layers, 1, modules_apart=False, ends_apart=False),
        dtype=dtype,
        seed=0,
    )
    return Worker(spec), space


def merges(space: WeightMergeSpace) -> Iterator[WeightMerge]:
    """Merges of which each differs from the last in every weight."""
    levels = range(1, min(gene.levels for gene in space.genes))
    yield from (space.decode([level] * len(space.genes)) for level in itertools.cycle(levels))


@dataclass(frozen=True)
class RoundCosts:
    """Processor seconds of one candidate.

    whole: all items at once. going_on: each round, if the one before was asked last. coming_back: each round, if
    another candidate was asked last, so that weights and prefixes are made anew.
    """

    whole: float
    going_on: tuple[float, ...]
    coming_back: tuple[float, ...]

    @property
    def in_rounds(self) -> float:
        """All rounds of a candidate that answers one after the other, as a multiple of the whole."""
        return sum(self.going_on) / self.whole

    @property
    def interrupted(self) -> float:
        """All rounds of a candidate that another one interrupts each time, as a multiple of the whole."""
        return sum(self.coming_back) / self.whole


def measure_costs(worker: Worker, recipes: Iterator[WeightMerge], repeats: int) -> RoundCosts:
    """Medians over the repeats."""
    count = len(worker.facts(Split.SEARCH).rounds)

    def seconds(recipe: WeightMerge, number: int | None) -> float:
        started = time.process_time()
        worker.evaluate(recipe, Split.SEARCH, number)
        return time.process_time() - started

    worker.evaluate(next(recipes), Split.SEARCH)  # what is prepared once for all candidates
    whole, going_on, coming_back = [], [], []
    for _ in range(repeats):
        whole.append(seconds(next(recipes), None))
        candidate, other = next(recipes), next(recipes)
        going_on.append([seconds(candidate, number) for number in range(count)])
        back = []
        for number in range(count):
            back.append(seconds(other, number))
            candidate, other = other, candidate
        coming_back.append(back)
    return RoundCosts(
        statistics.median(whole),
        tuple(map(statistics.median, zip(*going_on, strict=True))),
        tuple(map(statistics.median, zip(*coming_back, strict=True))),
    )


def main() -> Figures:
    """Measure the three ways of asking, and print their costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks rounds")
    parser.add_argument("items", nargs="*", type=int, default=[200, 64])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for items in asked.items:
        with tempfile.TemporaryDirectory() as folder:
            worker, space = make_worker(Path(folder), items, asked.dtype)
            costs = measure_costs(worker, merges(space), asked.repeats)
            facts = worker.facts(Split.SEARCH)
        print(f"{items} items a task, {len(facts.rounds)} rounds; the whole: {costs.whole:.2f} processor seconds")
        print("  each round, of the whole:", *(f"{one / costs.whole:.3f}" for one in costs.going_on))
        print("  as the race counts them: ", *(f"{one.cost:.3f}" for one in facts.rounds))
        print(f"  one after the other: {costs.in_rounds:.3f} × the whole; interrupted: {costs.interrupted:.3f} ×")
        rows.append(
            {
                "items_of_a_task": items,
                "items_of_each_round": [len(one.items) for one in facts.rounds],
                "counted": [one.cost for one in facts.rounds],
                "whole_cpu_s": costs.whole,
                "going_on_cpu_s": costs.going_on,
                "coming_back_cpu_s": costs.coming_back,
                "in_rounds": costs.in_rounds,
                "interrupted": costs.interrupted,
            }
        )
    return {"dtype": asked.dtype, "sizes": rows}


if __name__ == "__main__":
    main()
