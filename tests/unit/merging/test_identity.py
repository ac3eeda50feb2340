"""The identity of a model: two spellings of one model are one, and text and JSON read back to it."""

from __future__ import annotations

import json

import pytest

from merging.errors import MergingError
from merging.identity import ModelId

IDS = {
    "reef/cod": ModelId("reef/cod"),
    "reef/cod@v1": ModelId("reef/cod", "v1"),
    "./cod+reef/lora@v2": ModelId("./cod", None, ModelId("reef/lora", "v2")),
    "reef/cod@v1+reef/lora": ModelId("reef/cod", "v1", ModelId("reef/lora")),
    "reef/cod+reef/lora@v2:a/b.safetensors": ModelId(
        "reef/cod", None, ModelId("reef/lora", "v2", file="a/b.safetensors")
    ),
    "./style.safetensors": ModelId("./style.safetensors"),
}


@pytest.mark.parametrize("text", IDS)
def test_an_identity_is_read_from_its_text_and_its_json(text: str) -> None:
    model = IDS[text]
    assert ModelId.parse(text) == model and str(model) == text
    assert ModelId.from_json(json.loads(json.dumps(model.to_json()))) == model


def test_spaces_around_a_name_do_not_belong_to_it() -> None:
    assert ModelId.parse(" reef/cod + reef/lora@v2 ") == ModelId("reef/cod", None, ModelId("reef/lora", "v2"))


def test_the_plain_model_has_no_adapter() -> None:
    assert ModelId.parse("reef/cod@v1+reef/lora").plain == ModelId("reef/cod", "v1")


def test_without_an_adapter_the_json_has_a_repo_and_a_sha_alone() -> None:
    assert ModelId("reef/cod", "0" * 40).to_json() == {"repo": "reef/cod", "sha": "0" * 40}


@pytest.mark.parametrize("text", ["", "@v1", "reef/cod@", "reef/cod@v1@v2", "+reef/lora", "a+b+c", "reef/cod+"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(MergingError, match=r"^model: got "):
        ModelId.parse(text)


@pytest.mark.parametrize(
    "data",
    [{}, {"repo": 1, "sha": "a"}, {"repo": "a", "sha": 1}, {"repo": "a", "adapter": "b"}, {"repo": "a", "file": 1}],
)
def test_other_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(MergingError, match=r"^model: got "):
        ModelId.from_json(data)
