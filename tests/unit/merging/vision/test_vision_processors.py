"""Processors of vision-language models, loaded as the kind loads them: with Pillow, and without torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.picture_models import OTHERS, SHARED, make_picture, make_picture_model, make_processor
from merging.kinds import KINDS

KIND = KINDS["vision-language"]


@pytest.mark.parametrize("family", [*SHARED, *OTHERS])
def test_a_saved_processor_prepares_the_same_pictures_and_needs_no_videos(family: str, tmp_path: Path) -> None:
    made = make_processor(family)
    made.save_pretrained(tmp_path)
    make_picture_model(family).config.save_pretrained(tmp_path)
    loaded = KIND.load_processor(tmp_path)
    assert type(loaded).__name__ == type(made).__name__
    assert "Pil" in type(loaded.image_processor).__name__
    assert_same_inputs(made, loaded)


def test_a_processor_of_an_older_repo_is_found_by_the_config(tmp_path: Path) -> None:
    made = make_processor("qwen2_vl")
    made.tokenizer.save_pretrained(tmp_path)
    made.image_processor.save_pretrained(tmp_path)
    make_picture_model("qwen2_vl").config.save_pretrained(tmp_path)
    assert not (tmp_path / "processor_config.json").exists()
    assert_same_inputs(made, KIND.load_processor(tmp_path))


def assert_same_inputs(made: Any, loaded: Any) -> None:
    text, pictures = f"w1 {made.image_token} w2", [[make_picture(1, 40, 24)]]
    expected = made(text=[text], images=pictures, return_tensors="pt")
    found = loaded(text=[text], images=pictures, return_tensors="pt")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
