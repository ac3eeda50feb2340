"""Tasks with pictures, asked of a tiny random LLaVA; lm-eval's `hf-multimodal` and a plain forward pass are the
references."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from lm_eval.models.hf_vlms import HFMultimodalLM
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from evaluation.harness.eval_set import LmEvalSet
from evaluation.harness.modalities.pictures import PICTURES
from evaluation.harness.suite import LmEvalSuite
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.boards import COLOURS, make_board_processor, make_llava, write_board_task, write_task_file

pytestmark = pytest.mark.slow

CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_choice": list(COLOURS),
    "generation_kwargs": None,
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
FUNCTION = """
from pathlib import Path

from PIL import Image


def pictures(doc):
    return [Image.open(Path(__file__).parent / doc["picture"])]
"""


class Reference(HFMultimodalLM):  # type: ignore[misc]
    """lm-eval's own class, with its processor taken from memory (as released, it loses it)."""

    def _create_tokenizer(self, _pretrained: object, tokenizer: Any, **_: object) -> None:
        self.processor, self.tokenizer = tokenizer, tokenizer.tokenizer


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return make_llava()


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    return make_board_processor()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of boards under several tasks, which differ in where their pictures come from and what they ask."""
    folder = write_board_task(tmp_path_factory.mktemp("tasks"))
    (folder / "drawn.py").write_text(FUNCTION, "utf-8")
    write_task_file(folder, "board_function", doc_to_image="!function drawn.pictures")
    write_task_file(folder, "board_template", doc_to_image="{{[picture]}}")
    write_task_file(folder, "board_choice", doc_to_image=["picture"], **CHOICE)
    rows = Dataset.from_json(str(folder / "boards.jsonl"), cache_dir=str(folder / "cache"))
    features = Features({"picture": Image(), "place": Value("string"), "colour": Value("string")})
    whole = [{**row, "picture": (folder / row["picture"]).read_bytes()} for row in rows]
    bytes_only = [{**row, "picture": {"bytes": row["picture"], "path": None}} for row in whole]
    Dataset.from_list(bytes_only, features=features).to_parquet(str(folder / "boards.parquet"))
    parquet = {"dataset_path": "parquet", "dataset_kwargs": {"data_files": {"test": "boards.parquet"}}}
    write_task_file(folder, "board_parquet", doc_to_image=["picture"], **parquet)
    return folder


def load(folder: Path, *tasks: SkillTask, chat: bool = False, language: str | None = None) -> LmEvalSuite:
    skills = (Skill("boards", tasks, chat_template=chat, language=language),)
    return LmEvalSuite.load(skills, [folder], SplitSizes(), 5, PICTURES)


def say(name: str = "board_say", shots: int | None = None) -> SkillTask:
    return SkillTask(name, "exact_match", num_fewshot=shots)


def by_item(scores: tuple[ItemScore, ...]) -> dict[str, float]:
    return {score.item: score.value for score in scores}


def answers_of(asked: LmEvalSet) -> dict[str, Any]:
    """Item → the model's answers, after scoring."""
    return {item.item: [one.resps[0] for one in item.requests] for task in asked.tasks for item in task.items}


def reference_answers(asked: LmEvalSet, lm: Any, *, chat: bool = False) -> dict[str, list[Any]]:
    """lm-eval's own answers by item, in its own loop, to the same documents."""
    (task,) = asked.tasks
    own, name = task.loaded.task, task.loaded.name
    places = {task.loaded.item(doc): place for place, doc in enumerate(own.eval_docs)}
    wanted = {places[item.item]: item.item for item in task.items}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)  # half a second after each answer
        found = lm_eval.evaluate(
            lm,
            {"tasks": {name: own}},
            samples={name: sorted(wanted)},
            bootstrap_iters=0,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    return {wanted[sample["doc_id"]]: [answer[0] for answer in sample["resps"]] for sample in found["samples"][name]}


@pytest.mark.parametrize("chat", [False, True])
def test_generated_answers_are_those_of_lm_eval(
    folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor, chat: bool
) -> None:
    suite = load(folder, say("board_function"), chat=chat)
    asked = suite.build(Split.REPORT, processor, ())
    asked.score(suite.wrap(model, processor, "cpu", 1))
    found = answers_of(asked)
    assert found == reference_answers(asked, Reference(model, tokenizer=processor, batch_size=1), chat=chat)
    assert len({tuple(answer) for answer in found.values()}) > 2  # the model looks at its pictures
    assert (asked.requests[0].args[0].startswith("user <image>")) is chat


def test_likelihoods_are_those_of_a_forward_pass(
    folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor
) -> None:
    suite = load(folder, SkillTask("board_choice", "acc"))
    asked = suite.build(Split.REPORT, processor, ())
    asked.score(suite.wrap(model, processor, "cpu", 1))
    for request in asked.requests:
        text = request.args[0] + request.args[1]
        inputs = processor(text=text, images=list(request.args[2]["visual"]), return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0].log_softmax(-1)
        last = inputs["input_ids"][0, -1]
        value, greedy = request.resps[0]
        assert value == pytest.approx(float(logits[-2, last]), abs=1e-4)
        assert greedy == bool(logits[-2].argmax() == last)


def test_a_picture_may_be_a_path_a_template_s_list_bytes_or_what_a_function_opens(
    folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor
) -> None:
    found = {}
    for name in ("board_say", "board_template", "board_function", "board_parquet"):
        suite = load(folder, say(name))
        asked = suite.build(Split.REPORT, processor, ())
        asked.score(suite.wrap(model, processor, "cpu", 1))
        found[name] = sorted(map(str, answers_of(asked).values()))
    assert len(set(map(str, found.values()))) == 1
