"""The judges that are models, compared with transformers' own way to the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPModel, Owlv2ForObjectDetection, SiglipModel

from evaluation.errors import EvaluationError
from evaluation.pictures.colours import COLOURS, name_colour, to_lab
from evaluation.pictures.judges import parse_judge
from evaluation.pictures.judges.judge import JudgeRepo
from evaluation.pictures.judges.objects import ObjectsJudge, Wanted, box_colour, overlap, share_fulfilled
from evaluation.pictures.judges.opened import JudgeDesk
from evaluation.pictures.rows import RowText, read_items
from evaluation.pictures.suite import ImageSuite
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from evaluation.suites import FIND_JUDGES, SUITES
from fixtures.picture_models import make_picture
from fixtures.picture_tasks import write_picture_task
from fixtures.tiny_judges import write_clip, write_llava, write_owlv2, write_siglip
from fixtures.tiny_painters import make_pipeline

REPO, OTHER = JudgeRepo("some/judge", "0" * 40), JudgeRepo("some/other", "1" * 40)
NAMED = {"repo": REPO.repo, "revision": REPO.revision}
PICTURES = [make_picture(seed, 24, 16) for seed in range(5)]
ROWS: list[Mapping[str, object]] = [{"prompt": f"a red circle {n}", "seed": n} for n in (1, 1, 2, 2, 3)]


def numbers(name: str, folder: Path, pictures: list[Image.Image] = PICTURES, **settings: Any) -> list[float]:
    judge = parse_judge("judge", {name: {**NAMED, **settings}})
    opened = JudgeDesk(judge, folder, ["score"], ROWS[1:3]).open("cpu")
    return [found["score"] for found in opened.judge(pictures, ROWS)]


def test_similarity_is_transformers_own_clip_score(tmp_path: Path) -> None:
    folder = write_clip(tmp_path)
    found = numbers("similarity", folder, text="{{prompt}} of two")
    model, processor = CLIPModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder, backend="pil")
    texts = [f"{row['prompt']} of two" for row in ROWS]
    with torch.no_grad():
        own = model(**processor(text=texts, images=PICTURES, padding=True, return_tensors="pt"))
    expected = (own.logits_per_image / model.logit_scale.exp()).diagonal()
    assert found == pytest.approx(expected.tolist(), abs=1e-6) and len(set(found)) == 5
    assert numbers("similarity", folder, [PICTURES[0]] * 5)[:2] == pytest.approx(numbers("similarity", folder)[:1] * 2)


def test_similarity_is_siglip_s_logit_before_scale_and_bias(tmp_path: Path) -> None:
    folder = write_siglip(tmp_path)
    model, processor = SiglipModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder, backend="pil")
    texts = [str(row["prompt"]) for row in ROWS]
    with torch.no_grad():
        own = model(**processor(text=texts, images=PICTURES, padding="max_length", max_length=64, return_tensors="pt"))
    expected = ((own.logits_per_image - model.logit_bias) / model.logit_scale.exp()).diagonal()
    assert numbers("similarity", folder) == pytest.approx(expected.tolist(), abs=1e-5)


def test_yes_is_the_model_s_own_likelihood_and_keeps_no_pictures(tmp_path: Path) -> None:
    folder = write_llava(tmp_path)
    judge = parse_judge("judge", {"yes": {**NAMED, "question": "w3 {{prompt}} w4"}})
    opened = judge.open(folder, "cpu")
    found = [one["score"] for one in opened.judge(PICTURES, ROWS)]
    assert found == pytest.approx(
        [one["score"] for one in opened.judge(PICTURES, ROWS)], abs=1e-6
    )  # pictures forgotten
    backwards = opened.judge(PICTURES[::-1], ROWS[::-1])
    assert found == pytest.approx([one["score"] for one in backwards][::-1], abs=1e-6)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    yes, no = processor.tokenizer.convert_tokens_to_ids(["Yes", "No"])
    for number, picture, row in zip(found, PICTURES, ROWS, strict=True):
        text = f"<image>\nw3 {row['prompt']} w4\nAnswer:"
        with torch.no_grad():
            logits = model(**processor(text=[text], images=[[picture]], return_tensors="pt")).logits[0, -1]
        assert number == pytest.approx(float(torch.sigmoid(logits[yes] - logits[no])), abs=1e-5)
    assert len(set(found)) == 5 and all(0 < number < 1 for number in found)


def test_objects_are_counted_and_named_by_their_colours(tmp_path: Path) -> None:
    folder = write_owlv2(tmp_path)
    judge = parse_judge("judge", {"objects": {**NAMED, "objects": "wanted", "threshold": 0.01}}).open(folder, "cpu")
    assert isinstance(judge, ObjectsJudge)
    model, processor = (
        Owlv2ForObjectDetection.from_pretrained(folder),
        AutoProcessor.from_pretrained(folder, backend="pil"),
    )
    queries = [["a photo of a cat", "a photo of a dog"]]
    with torch.no_grad():
        own = model(**processor(text=queries, images=[PICTURES[0]], return_tensors="pt"))
    (boxes,) = processor.post_process_grounded_object_detection(own, 0.01, [(16, 24)])
    found = judge.detect(PICTURES[0], ["cat", "dog"])
    mine = [box for name in found for box in found[name]]
    assert mine and all(any(box == pytest.approx(other) for other in boxes["boxes"].tolist()) for box in mine)
    assert all(overlap(a, b) <= 0.5 for name in found for a in found[name] for b in found[name] if a != b)
    best = boxes["boxes"][int(boxes["scores"].argmax())].tolist()
    assert any(box == pytest.approx(best) for box in mine)
    wanted = [{"object": "cat", "count": len(found["cat"])}, {"object": "dog", "count": len(found["dog"]) + 1}]
    assert judge.judge(PICTURES[:1], [{"prompt": "", "wanted": wanted}]) == [{"score": 0.5}]


def test_demands_are_shared_out_and_colours_are_the_nearest() -> None:
    two = [Wanted("cube", 1, "red"), Wanted("cube", 1, "blue")]
    assert share_fulfilled(two, {"cube": ["red", "blue"]}) == 1.0
    assert share_fulfilled(two, {"cube": ["red", "red"]}) == 0.75
    assert share_fulfilled(two, {"cube": ["red"]}) == 0.25
    assert share_fulfilled([Wanted("cat", 0)], {"cat": []}) == 1.0
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3) and overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert all(name_colour(colour) == name for name, colour in COLOURS.items())
    assert to_lab(np.array([[255, 0, 0], [0, 0, 255]])) == pytest.approx(  # published values of sRGB's red and blue
        np.array([[53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]), abs=0.05
    )
    framed = Image.new("RGB", (20, 20), (0, 0, 0))
    framed.paste((200, 30, 40), (5, 5, 15, 15))
    assert box_colour(framed, (0, 0, 20, 20)) == "red" and box_colour(framed, (-3, 18.9, 0.2, 25)) == "black"


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ({"similarity": {"repo": "a/b"}}, r"judge.similarity.revision: it is missing"),
        ({"similarity": {**NAMED, "revision": "main"}}, "got 'main': give a commit's 40 hexadecimal digits"),
        ({"yes": {**NAMED, "repo": "b"}}, r"judge.yes.repo: got 'b'"),
        ({"objects": {**NAMED, "objects": "wanted", "threshold": 2}}, r"judge.objects.threshold: got 2"),
        ({"yes": {**NAMED, "text": "prompt"}}, "judge.yes.text: there is no such key; it has repo, revision, question"),
        ({"yes": NAMED, "rule": "x"}, "give one judge: rule, similarity, yes, objects"),
    ],
)
def test_settings_that_mean_nothing_are_refused(judge: object, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        parse_judge("judge", judge)


def test_a_judge_that_is_gone_or_broken_or_blind_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    judge = parse_judge("judge", {"similarity": NAMED})
    with pytest.raises(EvaluationError, match="some/judge@0000000: its files were not fetched"):
        JudgeDesk(judge, None, ["score"], ROWS[:1]).open("cpu")
    with pytest.raises(EvaluationError, match="cannot be loaded"):
        JudgeDesk(judge, tmp_path, ["score"], ROWS[:1]).open("cpu")
    model = CLIPModel.from_pretrained(write_clip(tmp_path))
    for value, words in ((torch.nan, "gives nan for score, not a number"), (0.0, "for every picture; use another")):
        with torch.no_grad():
            model.visual_projection.weight.fill_(value)
            if value == 0:  # every picture has one vector
                model.visual_projection.weight[0] = model.vision_model.post_layernorm.bias * 0 + 1
                model.vision_model.post_layernorm.weight.zero_()
        model.save_pretrained(tmp_path)
        with pytest.raises(EvaluationError, match=words):
            JudgeDesk(judge, tmp_path, ["score"], ROWS[:1]).open("cpu")
    weights = load_file(tmp_path / "model.safetensors")
    for changed, words in (
        ({"visual_projection.weight": torch.zeros(3, 3)}, "cannot be loaded"),
        ({}, "its files lack the weight visual_projection.weight"),  # it would be drawn at random
    ):
        left = {name: tensor for name, tensor in weights.items() if name != "visual_projection.weight"}
        save_file({**left, **changed}, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(EvaluationError, match=words):
            JudgeDesk(judge, tmp_path, ["score"], ROWS[:1]).open("cpu")


def test_a_rule_may_define_dataclasses_and_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n@dataclass\nclass Seen:\n    n: int\n"
    )
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "own.py").write_text(
            f"{code}\ndef score(picture, row):\n    return Seen({number}).n\n"
        )
    for number in (1, 2, 1):
        judge = parse_judge("judge", {"rule": str(tmp_path / str(number) / "own.score")})
        opened = JudgeDesk(judge, None, ["score"], ROWS[1:3]).open("cpu")
        assert opened.judge(PICTURES[:1], ROWS[:1]) == [{"score": float(number)}]


def test_a_rule_that_gives_other_numbers_for_the_same_picture_is_refused(tmp_path: Path) -> None:
    tails = {
        "random": "import random\ndef score(picture, row):\n    return {'score': 1.0, 'other': random.random()}\n",
        "painting": (
            "def score(picture, row):\n    seen = sum(picture.getpixel((0, 0)))\n"
            "    picture.paste((9, 9, 9), (0, 0, 1, 1))\n    return {'score': 1.0, 'other': seen}\n"
        ),
    }
    desks = {}
    for name, code in tails.items():
        (tmp_path / f"{name}.py").write_text(code)
        judge = parse_judge("judge", {"rule": str(tmp_path / f"{name}.score")})
        desks[name] = JudgeDesk(judge, None, ["score", "other"], ROWS[1:3])
    with pytest.raises(EvaluationError, match=r"rule random\.score gives 0\.\d+ and then 0\.\d+ for other of the same"):
        desks["random"].open("cpu")
    desks["painting"].open("cpu")  # each asking has pictures of its own


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tmp_path: Path) -> None:
    for name, text in (("a.txt", "a cat\na dog\n"), ("a.jsonl", '{"prompt": "a cat"}\n{"prompt": "a dog"}\n')):
        (tmp_path / name).write_text(text, "utf-8-sig")
        items = read_items(tmp_path / name, RowText("prompt", "prompt"), None, 1)
        assert [item.prompt for item in items.values()] == ["a cat", "a dog"]


def test_the_report_split_has_another_judge_and_both_repos_are_found(tmp_path: Path) -> None:
    judge = f"similarity: {{repo: {REPO.repo}, revision: '{REPO.revision}'}}"
    other = {"similarity": {"repo": OTHER.repo, "revision": OTHER.revision}}
    folder = write_picture_task(tmp_path / "tasks", judge, report_judge=other)
    skills = [Skill("a", (SkillTask("colours", "score"),))]
    assert FIND_JUDGES["image"](skills, [folder]) == (REPO, OTHER)
    judges = {REPO: write_clip(tmp_path / "clip"), OTHER: write_clip(tmp_path / "other", seed=1)}
    suite = SUITES["image"](skills, [folder], SplitSizes(), 0, judges)
    assert isinstance(suite, ImageSuite) and "similarity by some/judge@0000000" in suite.describe()[0].filter
    pipeline = make_pipeline()
    painter = suite.wrap(pipeline, {}, "cpu", 4)
    lame = SUITES["image"](skills, [folder], SplitSizes(), 0, {REPO: judges[REPO]})
    with pytest.raises(EvaluationError, match="task colours: similarity by some/other@1111111: its files were not"):
        lame.build(Split.SEARCH, {}, []).rounds(1, painter)  # before the search, not at the report
    for split, name in ((Split.VALIDATION, "clip"), (Split.REPORT, "other")):
        eval_set = suite.build(split, {}, [])
        (task,) = eval_set.tasks
        drawn = [one for some in painter.draw(task.sampler, task.drawings) for one in some]
        direct = parse_judge("judge", other).open(tmp_path / name, "cpu")
        expected = direct.judge([Image.fromarray(one.pixels) for one in drawn], [item.row for item in task.items])
        assert [score.value for score in eval_set.score(painter)] == pytest.approx([one["score"] for one in expected])


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (None, "report_judge: it is missing; a search may learn to please similarity by some/judge@0000000"),
        ({"yes": NAMED}, "report_judge: got yes by some/judge@0000000, which is the search's judge"),
        ({"yes": {**NAMED, "revision": OTHER.revision}}, "report_judge: got yes by some/judge@1111111, which is the"),
    ],
)
def test_a_model_must_not_judge_search_and_report(tmp_path: Path, report: object, words: str) -> None:
    judge = f"similarity: {{repo: {REPO.repo}, revision: '{REPO.revision}'}}"
    folder = write_picture_task(tmp_path / "tasks", judge, report_judge=report)
    with pytest.raises(EvaluationError, match=words):
        SUITES["image"]([Skill("a", (SkillTask("colours", "score"),))], [folder], SplitSizes(), 0)
