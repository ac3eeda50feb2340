"""lm-eval's own tasks, whose data come from a Hub: loaded by the genuine `datasets` client, scored as lm-eval does."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import lm_eval.tasks
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from evaluation.errors import TaskDataError
from evaluation.harness.engine_lm import EngineLM
from evaluation.harness.eval_set import LmEvalSet, TaskRequests
from evaluation.harness.loading import load_tasks
from evaluation.harness.modalities.pictures import PICTURES
from evaluation.harness.suite import LmEvalSuite
from evaluation.items import item_id
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.boards import draw_board, lm_eval_samples, make_board_processor, make_llava
from fixtures.data_sets import ask_for_data_at, publish_data_sets
from fixtures.engine import make_model
from localhub import Fault, Running, Shelf, running

pytestmark = pytest.mark.slow

USES = (
    SkillTask("arc_easy", "acc", num_fewshot=0),
    SkillTask("arc_easy", "acc_norm", num_fewshot=0),
    SkillTask("piqa", "acc_norm", num_fewshot=0),
    SkillTask("gsm8k", "exact_match", "strict-match", num_fewshot=0),
    SkillTask("gsm8k", "exact_match", "flexible-extract", num_fewshot=0),
    SkillTask("mgsm_direct_ja", "exact_match", "flexible-extract", num_fewshot=0),
)
SHIPPED = [str(Path(lm_eval.tasks.__file__).parent / home) for home in ("arc", "piqa", "gsm8k", "mgsm/direct")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Hub with the data sets, which `datasets` asks."""
    folder = tmp_path_factory.mktemp("hub")
    with running(folder / "hub") as server, pytest.MonkeyPatch.context() as patch:
        publish_data_sets(server.store, count=8)
        ask_for_data_at(patch, server.endpoint, folder / "cache")
        yield server


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes, which takes any language."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: index for index, letter in enumerate(["<end>", *letters])}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<end>")


def samples_of(found: dict[str, Any], use: SkillTask) -> dict[str, dict[str, Any]]:
    """lm-eval's samples of one use of a task by item."""
    rows = found["samples"][use.task]
    return {item_id(row["doc"]): row for row in rows if row["filter"] == (use.filter or "none")}


@pytest.mark.usefixtures("server")
def test_tasks_of_the_hub_have_the_scores_that_simple_evaluate_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)  # asks pip, for seconds
    skill, tokenizer = Skill("all", USES), byte_tokenizer()
    model = make_model("llama", positions=600, vocab_size=len(tokenizer), eos_token_id=0, bos_token_id=None)
    tasks = load_tasks([skill], [])
    eval_set = LmEvalSet.build([skill], tasks, Split.REPORT, SplitSizes(), 3, tokenizer)
    scores = eval_set.score(EngineLM(model, tokenizer, "cpu", 8))
    found = lm_eval.simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4),
        tasks=sorted(tasks),
        num_fewshot=0,
        task_manager=TaskManager(include_path=SHIPPED, include_defaults=False),
        bootstrap_iters=0,
    )
    for use in USES:
        expected = samples_of(found, use)
        mine = {score.item: score.value for score in scores if score.task == use.key}
        assert mine and mine == {item: expected[item][use.metric] for item in mine}, use.key
    for asked in eval_set.tasks:
        check_answers(asked, samples_of(found, next(use for use in USES if use.task == asked.loaded.name)))
    assert {score.value for score in scores} == {0.0, 1.0}


def check_answers(asked: TaskRequests, expected: dict[str, dict[str, Any]]) -> None:
    """A random model's answers to problems are all wrong: the texts say more than their scores."""
    for item in asked.items if asked.requests[0].request_type == "generate_until" else ():
        assert [request.resps for request in item.requests] == [expected[item.item]["resps"][0]]


def publish_pictures(server: Running) -> None:
    """Made-up data sets of the schemas of ChartQA and of a subject of MMMU, which shows one to two pictures."""
    text, places = datasets.Value("string"), [f"image_{number}" for number in range(1, 8)]
    boards = [draw_board(cells) for cells in itertools.product(("red", "blue"), repeat=4)]
    charts = [{"image": one, "query": f"what is at {n} ?", "label": [str(n)]} for n, one in enumerate(boards)]
    asked = [
        {
            "question": f"<image 1> what is at {number} ?" + " <image 2>" * (number % 2),
            "options": "['red', 'blue']",
            "answer": "AB"[number % 2],
            "question_type": "multiple-choice",
            **dict.fromkeys(places),
            **dict(zip(places, (board, boards[0]) if number % 2 else (board,), strict=False)),
        }
        for number, board in enumerate(boards)
    ]
    question = dict.fromkeys(("question", "options", "answer", "question_type"), text)
    several = {**question, **{place: datasets.Image() for place in places}}
    sets = {
        "HuggingFaceM4/ChartQA": ("test", charts, {"image": datasets.Image(), "query": text, "label": [text]}),
        "MMMU/MMMU": ("validation", asked, several),
    }
    for repo, (split, rows, features) in sets.items():
        content = io.BytesIO()
        datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(content)
        config = f"configs:\n- config_name: {'Art' if repo == 'MMMU/MMMU' else 'default'}\n  data_files:\n"
        card = f"---\n{config}  - split: {split}\n    path: {split}.parquet\n---\n"
        Shelf(server.store, "datasets").commit(repo, {f"{split}.parquet": content.getvalue(), "README.md": card})


def test_tasks_with_pictures_of_the_hub_have_the_answers_that_lm_eval_gives(server: Running) -> None:
    publish_pictures(server)
    uses = (SkillTask("chartqa", "relaxed_accuracy"), SkillTask("mmmu_val_art", "acc"))
    suite = LmEvalSuite.load([Skill("all", uses)], [], SplitSizes(2, 4, 4), 3, PICTURES)
    for loaded in suite.tasks.values():
        loaded.task.config.generation_kwargs["max_gen_toks"] = 6  # instead of 512
    model, processor = make_llava(positions=512), make_board_processor()
    asked = suite.build(Split.REPORT, processor, ())
    scores = {score.item: score.value for score in asked.score(suite.wrap(model, processor, "cpu", 1))}
    for task, samples in zip(asked.tasks, lm_eval_samples(asked, model, processor), strict=True):
        for item in task.items:
            assert [request.resps for request in item.requests] == samples[item.item]["resps"]
            if task.loaded.name == "chartqa":  # MMMU's own code guesses at answers without an option
                assert scores[item.item] == samples[item.item]["relaxed_accuracy"]
    again = {score.item: score.value for score in asked.score(suite.wrap(model, processor, "cpu", 1))}
    assert again == scores and set(scores.values()) == {0.0, 1.0}  # the guesses are the same every time
    assert {len(request.args[2]["visual"]) for request in asked.requests} == {1, 2}


@pytest.mark.parametrize("knows_data_sets", [True, False])
def test_a_data_set_that_neither_the_hub_nor_the_machine_has_is_named_in_a_line(
    knows_data_sets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "empty") as empty:
        ask_for_data_at(monkeypatch, empty.endpoint, tmp_path / "cache")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "files"))
        if not knows_data_sets:
            empty.faults.add(Fault("*", "*/datasets/*", times=1000, status=404))
        with pytest.raises(TaskDataError) as refusal:
            load_tasks([Skill("all", (SkillTask("arc_easy", "acc"), SkillTask("piqa", "acc")))], [])
    remedy = "use a Hub that has it, or a task with local data"
    why = f"is not on this machine, and {empty.endpoint} does not have it; {remedy}"
    assert str(refusal.value).splitlines() == [
        f"task arc_easy: its data set allenai/ai2_arc ARC-Easy {why}",
        f"task piqa: its data set baber/piqa {why}",
    ]
