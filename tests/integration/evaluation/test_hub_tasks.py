"""lm-eval's own tasks, whose data come from a Hub: loaded by the genuine `datasets` client, scored as lm-eval does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from evaluation.items import item_id
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.data_sets import ask_for_data_at, publish_data_sets
from fixtures.engine import make_model
from localhub import Fault, Running, running

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
