"""Tasks with pictures, asked of a tiny random LLaVA; lm-eval's `hf-multimodal` and a plain forward pass are the
references."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image, ImageOps
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from evaluation.answers.rouge import missing_packages, rouge_l_ja
from evaluation.errors import EvaluationError
from evaluation.harness.eval_set import LmEvalSet
from evaluation.harness.modalities.pictures import PICTURES
from evaluation.harness.suite import LmEvalSuite
from evaluation.harness.tasks import divide_tasks
from evaluation.picture import encode_png, open_picture, picture_digest
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from evaluation.suites import LANGUAGE, TASK_CHECKS, VISION_LANGUAGE
from fixtures.boards import (
    COLOURS,
    PLACES,
    draw_board,
    lm_eval_samples,
    make_board_processor,
    make_llava,
    write_board_task,
    write_task_file,
)
from fixtures.folders import ROOT, TASKS

pytestmark = pytest.mark.slow

LIKELY = {
    "generation_kwargs": None,
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
CHOICE = {**LIKELY, "output_type": "multiple_choice", "doc_to_choice": list(COLOURS)}
FUNCTION = """
from pathlib import Path

from PIL import Image


def pictures(doc):
    return [Image.open(Path(__file__).parent / doc["picture"])]
"""


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
    write_task_file(folder, "board_text", doc_to_image=[], doc_to_text="what is at {{place}} ?", **CHOICE)
    write_task_file(folder, "board_likely", output_type="loglikelihood", doc_to_target=" {{colour}} </s>", **LIKELY)
    rows = datasets.Dataset.from_json(str(folder / "boards.jsonl"), cache_dir=str(folder / "cache"))
    text = datasets.Value("string")
    features = datasets.Features({"picture": datasets.Image(), "place": text, "colour": text})
    whole = [{**row, "picture": {"bytes": (folder / row["picture"]).read_bytes(), "path": None}} for row in rows]
    datasets.Dataset.from_list(whole, features=features).to_parquet(str(folder / "boards.parquet"))
    parquet = {"dataset_path": "parquet", "dataset_kwargs": {"data_files": {"test": "boards.parquet"}}}
    write_task_file(folder, "board_parquet", doc_to_image=["picture"], **parquet)
    return folder


def load(folder: Path, *tasks: SkillTask, chat: bool = False, language: str | None = None) -> LmEvalSuite:
    skills = (Skill("boards", tasks, chat_template=chat, language=language),)
    return LmEvalSuite.load(skills, [folder], SplitSizes(), 5, PICTURES)


def say(name: str = "board_say", shots: int | None = None) -> SkillTask:
    return SkillTask(name, "exact_match", num_fewshot=shots)


def answers_of(asked: LmEvalSet) -> dict[str, Any]:
    """Item → the model's answers, after scoring."""
    return {item.item: [one.resps[0] for one in item.requests] for task in asked.tasks for item in task.items}


@pytest.mark.parametrize("chat", [False, True])
def test_generated_answers_are_those_of_lm_eval(
    folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor, chat: bool
) -> None:
    suite = load(folder, say("board_function"), chat=chat)
    asked = suite.build(Split.REPORT, processor, ())
    asked.score(suite.wrap(model, processor, "cpu", 1))
    found = answers_of(asked)
    (samples,) = lm_eval_samples(asked, model, processor, chat=chat)
    assert found == {item: [answer[0] for answer in sample["resps"]] for item, sample in samples.items()}
    assert len({tuple(answer) for answer in found.values()}) > 2  # the model looks at its pictures
    assert (asked.requests[0].args[0].startswith("user <image>")) is chat


def test_likelihoods_are_those_of_a_forward_pass(
    folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor
) -> None:
    names = ("board_choice", "board_likely", "board_text")
    suite = load(folder, *(SkillTask(name, "acc", num_fewshot=int(name == "board_choice")) for name in names))
    asked = suite.build(Split.REPORT, processor, ())
    scores = asked.score(suite.wrap(model, processor, "cpu", 1))
    for request in asked.requests:
        text = request.args[0] + request.args[1]
        inputs = processor(text=text, images=list(request.args[2]["visual"]) or None, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0].log_softmax(-1)
        tokens = inputs["input_ids"][0, -len(request.args[1].split()) :]
        before = logits[-len(tokens) - 1 : -1]
        value, greedy = request.resps[0]
        assert value == pytest.approx(float(before.gather(1, tokens[:, None]).sum()), abs=1e-4)
        assert greedy == bool((before.argmax(-1) == tokens).all())
    assert [len(task.requests[0].args[2]["visual"]) for task in asked.tasks] == [2, 1, 0]
    two_words = [request for request in asked.requests if request.task_name == "board_likely"]
    assert all(len(request.args[1].split()) == 2 for request in two_words)
    chosen = next(task for task in asked.tasks if task.loaded.name == "board_choice")
    for item in chosen.items:
        best = max(item.requests, key=lambda request: request.resps[0][0]).args[1].strip()
        (score,) = [one.value for one in scores if one.item == item.item and one.task.startswith("board_choice")]
        assert score == float(best == item.doc["colour"])


def test_a_picture_may_be_a_path_a_template_s_list_bytes_or_what_a_function_opens(
    folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor
) -> None:
    found = {}
    for name in ("board_say", "board_template", "board_function", "board_parquet"):
        suite = load(folder, say(name))
        asked = suite.build(Split.REPORT, processor, ())
        asked.score(suite.wrap(model, processor, "cpu", 1))
        found[name] = {request.args[2]["visual"].digests: request.resps for request in asked.requests}
        assert asked.requests[0].doc.keys() == {"picture", "place", "colour"}
    assert found["board_say"] == found["board_template"] == found["board_function"] == found["board_parquet"]


def test_a_data_set_s_pictures_lie_in_its_own_folders(folder: Path, tmp_path: Path) -> None:
    """`datasets` gives the path of a picture that is a file, and its rows may name any."""
    sub = folder / "sub"
    sub.mkdir()
    (sub / "board_above.yaml").write_text((folder / "board_template.yaml").read_text().replace("template", "above"))
    rows = [json.loads(line) for line in (folder / "boards.jsonl").read_text("utf-8").splitlines()]
    (sub / "boards.jsonl").write_text(
        "".join(json.dumps({**row, "picture": f"../{row['picture']}"}) + "\n" for row in rows)
    )
    assert load(folder, say("board_above")).tasks["board_above"].test
    elsewhere = write_board_task(tmp_path / "elsewhere")
    (elsewhere / "boards" / "metadata.jsonl").write_text(
        "".join(json.dumps({**row, "file_name": Path(row.pop("picture")).name}) + "\n" for row in rows)
    )
    data = {"dataset_path": "imagefolder", "dataset_kwargs": {"data_dir": str(elsewhere / "boards")}}
    write_task_file(folder, "board_files", doc_to_image=["image"], test_split="train", fewshot_split="train", **data)
    assert load(folder, say("board_files")).tasks["board_files"].test
    text = datasets.Value("string")
    features = datasets.Features({"picture": datasets.Image(), "place": text, "colour": text})
    outside = [
        {"picture": {"bytes": None, "path": str(elsewhere / "boards" / "0.png")}, "place": "one", "colour": "red"}
    ]
    datasets.Dataset.from_list(outside, features=features).to_parquet(str(folder / "outside.parquet"))
    stranger = {"dataset_path": "parquet", "dataset_kwargs": {"data_files": {"test": "outside.parquet"}}}
    write_task_file(folder, "board_outside", doc_to_image=["picture"], **stranger)
    with pytest.raises(
        EvaluationError, match=r"document 0 \(counted from 0\): its picture .* is outside the task folder"
    ):
        load(folder, say("board_outside"))


def test_pictures_of_examples_stand_before_that_of_the_question(folder: Path, processor: LlavaProcessor) -> None:
    suite = load(folder, say(shots=2))
    asked = suite.build(Split.REPORT, processor, ())
    loaded = suite.tasks["board_say"]
    for item in asked.tasks[0].items:
        (request,) = item.requests
        shown = list(request.args[2]["visual"])
        assert request.args[0].count("<image>") == len(shown) == 3
        assert shown[-1].tobytes() == loaded.pictures(item.doc)[0].tobytes()
        for picture, words in zip(shown, request.args[0].split("<image>")[1:], strict=True):
            place = PLACES.index(words.split()[3])
            corner = picture.getpixel((8 * (place % 2) + 4, 8 * (place // 2) + 4))
            colour = next(name for name, value in COLOURS.items() if value == corner)
            assert words.endswith("?") or words.split()[-1] == colour  # each example is answered by its own picture
        assert not set(map(picture_digest, shown[:-1])) & set(suite.tasks["board_say"].picture_digests(item.item))


def test_documents_with_one_picture_are_in_one_split(folder: Path) -> None:
    """Whatever is asked of a picture: a question in another language is no other subject."""
    rows = [json.loads(line) for line in (folder / "boards.jsonl").read_text("utf-8").splitlines()]
    twice = [{**row, "place": place} for row in rows for place in PLACES[:2]]
    (folder / "twice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in twice), "utf-8")
    write_task_file(folder, "board_twice", dataset_kwargs={"data_files": {"test": "twice.jsonl"}})
    suite = load(folder, say("board_twice"), say("board_function"))
    seen: dict[str, set[Split]] = defaultdict(set)
    for name, division in divide_tasks(suite.skills, suite.tasks, suite.seed, suite.sizes).items():
        for split, items in division.items.items():
            for item in items:
                seen[suite.tasks[name].picture_digests(item)[0]].add(split)
    assert len(seen) == len({path.read_bytes() for path in (folder / "boards").iterdir()})
    assert all(len(splits) == 1 for splits in seen.values()) and set.union(*seen.values()) == set(Split)


def test_a_digest_covers_pixels_processor_pillow_and_template(
    folder: Path, tmp_path: Path, processor: LlavaProcessor
) -> None:
    def digests(folder: Path = folder, processor: LlavaProcessor = processor, chat: bool = False) -> tuple[str, ...]:
        asked = load(folder, say(), chat=chat).build(Split.REPORT, processor, ())
        return asked.digest, asked.uses[0].digest

    whole, rules = digests()
    assert digests() == (whole, rules)
    moved = write_board_task(tmp_path / "moved")
    assert digests(moved) == (whole, rules)  # no path counts
    for board in (moved / "boards").iterdir():
        ImageOps.invert(Image.open(board)).save(board)
    changed, same = digests(moved)
    assert changed != whole and same == rules
    other = copy.deepcopy(processor)
    other.image_processor.image_mean = [0.5, 0.5, 0.5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("PIL.__version__", "0.0.1")
        older = digests()[1]
    backend = copy.deepcopy(processor)
    backend.image_processor.__class__ = type("CLIPImageProcessor", (type(backend.image_processor),), {})
    found = [rules, digests(processor=other)[1], older, digests(processor=backend)[1], digests(chat=True)[1]]
    assert len(set(found)) == len(found)
    suite = load(folder, say())
    assert suite.processor_digest(processor) != suite.processor_digest(other)


def test_a_language_and_the_flags_of_answers_count_as_for_text(folder: Path, processor: LlavaProcessor) -> None:
    model = make_llava()
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every token is as likely, so that the first is chosen: the end of the text
    suite = load(folder, say(), language="ja")
    asked = suite.build(Split.REPORT, processor, ())
    lm = suite.wrap(model, processor, "cpu", 1)
    assert {score.flag for score in asked.score(lm)} == {"empty"} and lm.stopped(asked.requests[0])
    lm.put(make_llava())
    flags = {score.flag for score in asked.score(lm)}
    assert flags <= {"empty", "looping", "other language", "no language", "cut off"} and "other language" in flags
    assert {score.value for score in asked.score(lm) if score.flag == "other language"} == {0.0}


def test_a_model_is_asked_as_the_code_on_a_card_does(
    folder: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor
) -> None:
    for chat in (False, True):
        suite = load(folder, say(), chat=chat)
        asked = suite.build(Split.REPORT, processor, ())
        asked.score(suite.wrap(model, processor, "cpu", 1))
        item = asked.items[0]
        sample = suite.ask(model, processor, [item])
        (picture,) = sample.question.pictures
        loaded = suite.tasks["board_say"]
        assert open_picture(picture).tobytes() == loaded.pictures(loaded.document(item.item))[0].tobytes()
        assert sample.question.prompt == loaded.prompt(loaded.document(item.item))
        assert sample.question.prompt.startswith("<image> what is at")
        assert sample.answer.split("?")[0].split() == answers_of(asked)[item.item][0].split()


def test_an_example_prompt_shows_the_places_of_its_pictures(folder: Path) -> None:
    suite = load(folder, say(shots=1), SkillTask("board_choice", "acc"))
    said, chosen = suite.example_prompts()
    assert said.prompt.count("<image>") == 2 and chosen.prompt.startswith("<image> what is at")
    assert chosen.choices == tuple(f" {colour}" for colour in COLOURS)
    assert suite.example_prompt().count("<image>") == 1


BAD_FILES = {
    "hello": b"hello",
    "one pixel": encode_png(Image.new("RGB", (1, 1))),
    "cut": encode_png(Image.effect_noise((64, 64), 99))[:-2000],
}


@pytest.mark.parametrize("place", [0, 7])
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("hello", "its picture is nothing that Pillow can read; replace it"),
        ("one pixel", "its picture has 1 × 1 pixels; use one of at least 5 a side"),
        ("cut", r"its picture cannot be read \(.*\); replace it"),
    ],
)
def test_a_wrong_picture_is_named_with_its_document(file: str, reason: str, place: int, tmp_path: Path) -> None:
    folder = write_board_task(tmp_path)
    (folder / "boards" / f"{place}.png").write_bytes(BAD_FILES[file])
    with pytest.raises(EvaluationError, match=f"^task board_say: document {place} \\(counted from 0\\): {reason}$"):
        load(folder, say())


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (
            {"doc_to_text": "at {{place}} ?"},
            "has 0 places for pictures, and doc_to_image gives 1; write <image>",
        ),
        ({"doc_to_text": "<image> <image> at {{place}} ?"}, "has 2 places for pictures, and doc_to_image gives 1"),
        ({"doc_to_image": ["picture", "picture"]}, "has 1 places for pictures, and doc_to_image gives 2"),
        ({"description": "An <image> is shown. "}, "its whole prompt has 2 places for pictures, and there are 1"),
        ({"doc_to_image": None}, r"task board_say has no pictures \(doc_to_image\), which vision-language"),
        ({"doc_to_image": "{{17}}"}, r"document 0 \(counted from 0\): doc_to_image gives a int; give a picture"),
        ({"output_type": "loglikelihood_rolling"}, "scores whole texts"),
    ],
)
def test_a_task_that_cannot_be_asked_is_refused_in_one_line(
    keys: dict[str, Any], reason: str, tmp_path: Path, processor: LlavaProcessor
) -> None:
    folder = write_board_task(tmp_path, **keys)
    with pytest.raises(EvaluationError, match=reason) as refusal:
        load(folder, say()).build(Split.REPORT, processor, ())
    assert "board_say" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_task_with_pictures_is_refused_for_language_models(folder: Path) -> None:
    with pytest.raises(EvaluationError, match=r"task board_say has pictures \(doc_to_image\), which language models"):
        LmEvalSuite.load((Skill("boards", (say(),)),), [folder], SplitSizes(), 5)


def test_the_files_alone_show_which_tasks_have_pictures(folder: Path) -> None:
    skills = (Skill("boards", (say(), SkillTask("ev_choice", "acc"))),)
    found = {kind: list(TASK_CHECKS[kind](skills, [folder, TASKS])) for kind in (LANGUAGE, VISION_LANGUAGE)}
    assert [(fault.skill, fault.task, fault.key) for fault in found[LANGUAGE]] == [(0, 0, "task")]
    assert [(fault.skill, fault.task, fault.key) for fault in found[VISION_LANGUAGE]] == [(0, 1, "task")]
    assert "kind: vision-language" in found[LANGUAGE][0].reason
    assert "kind: language" in found[VISION_LANGUAGE][0].reason


def test_text_may_be_cut_but_never_a_picture(folder: Path, processor: LlavaProcessor) -> None:
    write_task_file(folder, "board_late", doc_to_text="is " * 20 + "<image> what is at {{place}} ?")
    late, early = load(folder, say("board_late")), load(folder, say())
    small = make_llava(positions=15)  # 6 of them for the answer, and a question has 4 + 5 tokens
    asked, whole = late.build(Split.REPORT, processor, ()), early.build(Split.REPORT, processor, ())
    asked.score(late.wrap(small, processor, "cpu", 1))
    whole.score(early.wrap(small, processor, "cpu", 1))
    assert sorted(one.resps for one in asked.requests) == sorted(one.resps for one in whole.requests)
    wrong = r"task board_say: the prompt that ends in .* has 9 tokens, and the model has room for 6: 3 picture tokens"
    with pytest.raises(EvaluationError, match=wrong):
        whole.score(early.wrap(make_llava(positions=12), processor, "cpu", 1))


def test_a_processor_that_cannot_take_a_size_is_named_with_the_item(folder: Path, processor: LlavaProcessor) -> None:
    other = copy.deepcopy(processor)
    other.image_processor.size = {"longest": 3}
    wrong = r"task board_say: item \w+: LlavaProcessor does not take its pictures of 16 × 16 pixels: .*; resize them"
    with pytest.raises(EvaluationError, match=wrong):
        load(folder, say()).build(Split.REPORT, other, ())


def test_a_processor_without_pictures_or_a_template_without_places_is_refused(
    folder: Path, processor: LlavaProcessor
) -> None:
    with pytest.raises(EvaluationError, match=r"takes no pictures \(it has no image_processor\)"):
        load(folder, say()).build(Split.REPORT, processor.tokenizer, ())
    blind = copy.deepcopy(processor)
    blind.chat_template = "{% for message in messages %}{{ message.role }}{% endfor %}"
    with pytest.raises(EvaluationError, match="its whole prompt has 0 places for pictures, and there are 1"):
        load(folder, say(), chat=True).build(Split.REPORT, blind, ())
    blind.chat_template = "{{ messages[0].content + 'x' }}"
    with pytest.raises(EvaluationError, match="chat_template is true, but the processor's template cannot be filled"):
        load(folder, say(), chat=True).build(Split.REPORT, blind, ())
    blind.chat_template = None
    with pytest.raises(EvaluationError, match="chat_template is true, but the processor has no chat template"):
        load(folder, say(), chat=True).build(Split.REPORT, blind, ())


def test_rouge_of_japanese_is_a_metric_of_own_tasks(
    tmp_path: Path, model: LlavaForConditionalGeneration, processor: LlavaProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = {"metric": "rouge_l_ja", "aggregation": "mean", "higher_is_better": True}
    folder = write_board_task(tmp_path, metric_list=[metric])
    use = SkillTask("board_say", "rouge_l_ja")
    with monkeypatch.context() as patch:
        patch.setattr("evaluation.harness.task_files.missing_packages", lambda: ("fugashi", "neologdn"))
        with pytest.raises(
            EvaluationError, match=r"^task board_say: rouge_l_ja needs fugashi, neologdn; pip install '"
        ):
            load(folder, use)
    if missing_packages():
        pytest.skip("the packages of shoal[japanese] are not installed")
    suite = load(folder, use)
    asked = suite.build(Split.REPORT, processor, ())
    scores = asked.score(suite.wrap(model, processor, "cpu", 1))
    for score, item in zip(scores, asked.tasks[0].items, strict=True):
        assert score.value == rouge_l_ja(item.requests[0].resps[0], str(item.doc["colour"]))
    monkeypatch.setattr("evaluation.harness.rules.rouge_packages", lambda: {"fugashi": "0.0.1"})
    assert suite.build(Split.REPORT, processor, ()).uses[0].digest != asked.uses[0].digest
    several = write_board_task(tmp_path / "several", metric_list=[metric], doc_to_target=["a", "b"])
    with pytest.raises(EvaluationError, match="rouge_l_ja compares with one answer, and doc_to_target gives several"):
        load(several, use)


@pytest.mark.skipif(bool(missing_packages()), reason="shoal[japanese] is not installed")
def test_the_shipped_japanese_tasks_ask_what_their_data_sets_hold(tmp_path: Path) -> None:
    text = datasets.Value("string")
    boards = [draw_board(cells) for cells in itertools.product(("red", "blue"), repeat=4)]
    asked = [{"question": f"何が見えますか{n}", "answer": f"色{n}"} for n in range(len(boards))]
    rows = [{"image": board, **one} for board, one in zip(boards, asked, strict=True)]
    pairs = [{"image": board, "qas": [one, asked[0]]} for board, one in zip(boards, asked, strict=True)]
    question = {"question": text, "answer": text}
    schemas = {
        "ja_vlm_bench_in_the_wild": (rows, {"image": datasets.Image(), **question}),
        "ja_vg_vqa_500": (pairs, {"image": datasets.Image(), "qas": datasets.List(question)}),
    }
    for name, (documents, features) in schemas.items():
        data = datasets.Dataset.from_list(documents, features=datasets.Features(features))
        data.to_parquet(str(tmp_path / f"{name}.parquet"))
        shipped = (ROOT / "watchlists" / "tasks" / f"{name}.yaml").read_text("utf-8")
        local = f"dataset_path: parquet\ndataset_kwargs: {{data_files: {{test: {name}.parquet}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(re.sub("dataset_path: .*\n", local, shipped), "utf-8")
        suite = load(tmp_path, SkillTask(name, "rouge_l_ja"), language="ja")
        loaded = suite.tasks[name]
        found = {(loaded.prompt(doc), loaded.expected(doc)) for doc in loaded.test.values()}
        assert found == {(f"<image>\n{one['question']}", one["answer"]) for one in asked}
        assert {loaded.picture_digests(item) for item in loaded.test} == {(picture_digest(board),) for board in boards}
