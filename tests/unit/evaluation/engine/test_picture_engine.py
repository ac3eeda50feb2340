"""The engine on models that see pictures. The references are transformers' own `generate` and forward pass."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from transformers import LlavaForConditionalGeneration

from evaluation.engine.pictures import rows as picture_rows
from evaluation.engine.pictures.tokens import PictureTokens
from evaluation.engine.pictures.tower import picture_refusal
from evaluation.harness.modalities.picture_engine_lm import PictureEngineLM
from fixtures.engine import TIGHT, make_requests
from fixtures.picture_models import OTHERS, SHARED, make_picture, make_picture_model, make_processor

pytestmark = pytest.mark.slow

PICTURES = [make_picture(1), make_picture(2, 60, 20), make_picture(3, 16, 40)]
ASKED = [
    ("w1 w2 <image> w3", [0]),
    ("w1 w2 <image> w3 w4 w5", [0]),
    ("w1 w2 <image> w3 w4 w5", [1]),
    ("w1 w2 <image> w6 <image> w7", [0, 2]),
    ("w1 w2 <image> w6 <image> w8 w9", [0, 2]),
    ("<image> w6", [2]),
    ("w1 w2 w8 w9", []),
]
"""Texts with the numbers of their pictures: shared and own ones, one and two, and none."""

OPTIONS = {"until": ["w7"], "max_gen_toks": 5}


def prompts(asked: Sequence[tuple[str, list[int]]] = ASKED) -> list[Instance]:
    arguments = [(text, OPTIONS, {"visual": [PICTURES[one] for one in numbers]}) for text, numbers in asked]
    return make_requests("generate_until", arguments)


def choices(asked: Sequence[tuple[str, list[int]]] = ASKED) -> list[Instance]:
    arguments = [
        (text, continuation, {"visual": [PICTURES[one] for one in numbers]})
        for text, numbers in asked
        for continuation in (" w10", " w11 w12 w13")
    ]
    return make_requests("loglikelihood", arguments)


def inputs_of(processor: Any, request: Instance, more: str = "") -> Any:
    """A request as transformers takes it, by the processor alone."""
    text, _, shown = request.args
    text = (text + more).replace("<image>", processor.image_token)
    return processor(text=[text], images=[shown["visual"]] if shown["visual"] else None, return_tensors="pt")


def generated(model: Any, processor: Any, request: Instance) -> tuple[str, bool]:
    """The text up to the stop string, and whether it ended by itself."""
    inputs = inputs_of(processor, request)
    tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text = str(processor.decode(tokens, skip_special_tokens=True))
    return text.split("w7")[0], "w7" in text or processor.tokenizer.eos_token_id in tokens


@torch.no_grad()
def likelihood(model: Any, processor: Any, request: Instance) -> tuple[float, bool]:
    start = inputs_of(processor, request)["input_ids"].shape[1]
    inputs = inputs_of(processor, request, request.args[1])
    likely, wanted = model(**inputs).logits[0].log_softmax(dim=-1), inputs["input_ids"][0, start:]
    likely = likely[start - 1 : -1]
    total = likely[torch.arange(len(wanted)), wanted].sum()
    return float(total), bool((likely.argmax(dim=-1) == wanted).all())


def assert_same_as_transformers(model: Any, processor: Any, own: PictureEngineLM) -> None:
    asked, chosen = prompts(), choices()
    expected_texts = [generated(model, processor, request) for request in asked]
    texts = own.generate_until(asked)
    assert [(text, own.stopped(request)) for text, request in zip(texts, asked, strict=True)] == expected_texts
    expected, found = [likelihood(model, processor, request) for request in chosen], own.loglikelihood(chosen)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)


def tower_passes(own: PictureEngineLM) -> int:
    assert own.engine.pictures is not None
    return own.engine.pictures.computed


@torch.no_grad()
def change_tower(model: Any, factor: float) -> None:
    language = {id(weight) for weight in model.get_decoder().parameters()} | {id(model.lm_head.weight)}
    for weight in model.parameters():
        if id(weight) not in language:
            weight *= factor


@pytest.mark.parametrize("family", SHARED)
def test_answers_are_those_of_transformers(family: str) -> None:
    model, processor = make_picture_model(family), make_processor(family)
    own = PictureEngineLM(model, processor, "cpu")
    assert own.engine.refused is None
    assert_same_as_transformers(model, processor, own)
    alone = {2} if family == "llava_onevision" else {0, 1, 2}  # it cuts a picture otherwise beside another one
    assert tower_passes(own) == len(alone | {0, 1})
    own.engine.limits = TIGHT
    assert_same_as_transformers(model, processor, own)


@pytest.mark.parametrize("family", OTHERS)
def test_families_whose_decoder_needs_more_are_answered_one_by_one(family: str) -> None:
    model, processor = make_picture_model(family), make_processor(family)
    own = PictureEngineLM(model, processor, "cpu")
    assert own.engine.refused
    assert_same_as_transformers(model, processor, own)


def test_positions_in_rows_and_columns_are_seen_for_what_they_are() -> None:
    model, processor = make_picture_model("qwen2_vl"), make_processor("qwen2_vl")
    inputs = inputs_of(processor, prompts()[0])
    reason = picture_refusal(model, inputs, model.config.image_token_id)
    assert reason == "its decoder is given position_ids of its own"


@pytest.fixture
def model() -> Any:
    return make_picture_model("llava")


@pytest.fixture(scope="module")
def processor() -> Any:
    return make_processor("llava")


def test_the_tower_runs_again_when_its_weights_have_changed_and_only_then(model: Any, processor: Any) -> None:
    own = PictureEngineLM(model, processor, "cpu")
    first = own.generate_until(prompts())
    assert tower_passes(own) == 3
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.up_proj.weight *= 1.5
    own.put(model)
    assert own.generate_until(prompts()) != first
    assert tower_passes(own) == 3  # another candidate with the same tower
    change_tower(model, 2.0)
    own.put(model)
    assert_same_as_transformers(model, processor, own)
    assert tower_passes(own) == 6
    change_tower(model, 0.5)
    own.put(model)
    assert_same_as_transformers(model, processor, own)
    assert tower_passes(own) == 6  # a tower that was there before


def test_rows_without_room_on_the_disk_are_computed_again(
    model: Any, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_rows, "DISK_LIMIT", 2 * 4 * 32 * 4)  # 4 tokens of 32 numbers
    own = PictureEngineLM(model, processor, "cpu")
    assert_same_as_transformers(model, processor, own)
    once = tower_passes(own)
    own.put(model)
    own.generate_until(prompts())
    assert tower_passes(own) == once + 1  # two of three pictures are kept


def test_a_full_disk_does_not_stop_the_engine(model: Any, processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = PictureEngineLM(model, processor, "cpu")

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_rows.RowFile, "write", fail)
    assert_same_as_transformers(model, processor, own)


def test_the_file_of_rows_has_no_name_and_goes_with_the_engine(
    model: Any, processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def open_here() -> int:
        links = Path("/proc/self/fd").iterdir()
        return sum(str(tmp_path) in str(link.readlink()) for link in links if link.is_symlink())

    own = PictureEngineLM(model, processor, "cpu")
    own.generate_until(prompts())
    assert list(tmp_path.iterdir()) == []
    assert open_here() > 0
    del own
    gc.collect()
    assert open_here() == 0


def test_parts_of_a_set_are_answered_as_the_whole_and_cost_less_later(model: Any, processor: Any) -> None:
    own = PictureEngineLM(model, processor, "cpu")
    own.engine.limits = TIGHT
    asked, chosen = prompts(), choices()
    whole, expected, likely = [*asked, *chosen], own.generate_until(asked), own.loglikelihood(chosen)
    with own.asking_part_of(whole):
        assert own.generate_until(asked[::2]) + own.generate_until(asked[1::2]) == expected[::2] + expected[1::2]
        parts = own.loglikelihood(chosen[::2]) + own.loglikelihood(chosen[1::2])
    assert [value for value, _ in parts] == pytest.approx([value for value, _ in likely[::2] + likely[1::2]], abs=1e-5)
    first, second = own.costs([asked[:1], asked[1:2]], asked)
    assert 0 < second < first  # the second question is about the first one's picture


def test_questions_share_the_keys_and_values_of_their_own_picture_alone(model: Any, processor: Any) -> None:
    own = PictureEngineLM(model, processor, "cpu")
    own.engine.limits = TIGHT
    about_one, about_two = prompts([ASKED[0], ASKED[1]]), prompts([ASKED[1], ASKED[2]])
    for requests, shared in ((about_one, True), (about_two, False)):
        tokens = [prompt.tokens for prompt in own.greedy_prompts(requests) if prompt]
        assert (tokens[0][2:6] == tokens[1][2:6]) == shared  # four tokens of a picture behind two words
        assert all(token < 0 for one in tokens for token in one[2:6])


def test_private_ids_are_looked_up_as_runs_of_pictures() -> None:
    tokens = PictureTokens()
    tokens.add("a", 3)
    tokens.add("b", 2)
    assert [*tokens.ids("a"), *tokens.ids("b")] == [-1, -2, -3, -4, -5]
    assert list(tokens.runs([-2, -3, -4, -5, -5, -1])) == [("a", [1, 2]), ("b", [0, 1, 1]), ("a", [0])]


class SeesMore(LlavaForConditionalGeneration):
    """A model that does with pictures what its decoder is not given."""

    def forward(self, *inputs: Any, pixel_values: Any = None, **options: Any) -> Any:
        answer = super().forward(*inputs, pixel_values=pixel_values, **options)
        if pixel_values is not None:
            answer.logits = answer.logits.flip(-1)
        return answer


class SeesWhatIsAsked(LlavaForConditionalGeneration):
    """A model that sees a picture otherwise if the text is longer."""

    def forward(self, input_ids: Any = None, pixel_values: Any = None, **options: Any) -> Any:
        if pixel_values is not None:
            pixel_values = pixel_values * input_ids.shape[1]
        return super().forward(input_ids, pixel_values, **options)


@pytest.mark.parametrize("odd", [SeesMore, SeesWhatIsAsked])
def test_a_model_that_is_more_than_the_engine_thinks_is_asked_one_by_one(model: Any, processor: Any, odd: Any) -> None:
    model.__class__ = odd
    own = PictureEngineLM(model, processor, "cpu")
    assert own.engine.refused is None
    asked = prompts()
    with torch.no_grad():
        scale = model.get_decoder().norm.weight.clone()
        model.get_decoder().norm.weight.fill_(float("nan"))
        own.generate_until(asked)  # broken weights say nothing about the family
        assert own.engine.refused is None
        model.get_decoder().norm.weight.copy_(scale)
    own.put(model)
    assert own.generate_until(asked) == [generated(model, processor, request)[0] for request in asked]
    assert own.engine.refused == "pictures are more to it than the engine gives it"


def test_a_picture_is_prepared_once_for_all_questions(
    model: Any, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Any] = []
    plain = type(processor.image_processor).__call__
    monkeypatch.setattr(
        type(processor.image_processor), "__call__", lambda self, *i, **o: prepared.append(i) or plain(self, *i, **o)
    )
    own = PictureEngineLM(model, processor, "cpu")
    prepared.clear()  # the constructor's own
    asked, chosen = prompts(ASKED[:3]), choices(ASKED[:3])
    own.generate_until(asked)
    own.loglikelihood(chosen)
    own.put(model)
    own.generate_until(asked)
    assert len(prepared) == 2
