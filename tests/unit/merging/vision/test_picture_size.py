"""The size to which pictures are scaled, set in the files of processors of several families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from evaluation.harness.modalities.pictures import PICTURES
from fixtures.picture_models import make_picture, make_picture_model, make_picture_tokenizer, make_processor
from merging.errors import MergingError
from merging.kinds import KINDS
from merging.kinds.picture_size import with_picture_size

KIND = KINDS["vision-language"]
OLDER, NEWER = "preprocessor_config.json", "processor_config.json"


def save(family: str, folder: Path, *, older: bool = False) -> Any:
    """Save a processor with a config; returns its image processor. older: in the files of older versions."""
    made: Any = make_processor("llava" if family == "pixtral" else family)
    if family == "pixtral":
        pictures = PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size=8)
        made = LlavaProcessor(pictures, make_picture_tokenizer(), patch_size=8)
    for part in (made.tokenizer, made.image_processor) if older else (made,):
        part.save_pretrained(folder)
    model = make_picture_model("llava" if family == "pixtral" else family)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    return made.image_processor


def pictures_of(processor: Any) -> list[torch.Tensor]:
    """A wide picture, a high one and a small one, as a loaded processor prepares them."""
    images = [make_picture(1, 90, 40), make_picture(2, 40, 90), make_picture(3, 9, 10)]
    return [processor.image_processor(one, return_tensors="pt")["pixel_values"] for one in images]


@pytest.mark.parametrize(
    ("family", "pixels", "size"),
    [
        ("idefics3", 16, {"longest_edge": 16}),
        ("idefics3", 24, {"longest_edge": 24}),
        ("pixtral", 40, {"longest_edge": 40}),
        ("qwen2_vl", 24, {"shortest_edge": 256, "longest_edge": 576}),  # areas
        ("qwen2_vl", 16, {"shortest_edge": 256, "longest_edge": 256}),
        ("llava", 16, {"shortest_edge": 16}),  # its own
        ("gemma3", 16, {"height": 16, "width": 16}),
    ],
)
@pytest.mark.parametrize("older", [False, True])
def test_pictures_are_prepared_as_transformers_does_with_that_size(
    family: str, pixels: int, size: dict[str, int], older: bool, tmp_path: Path
) -> None:
    if older and family == "pixtral":
        pytest.skip("its config here is LLaVA's, and names another image processor")
    own = save(family, tmp_path, older=older)
    plain = KIND.load_processor(tmp_path)
    with with_picture_size(tmp_path, pixels) as folder:
        found: Any = KIND.load_source_processor(folder)
        again = json.loads((folder / (OLDER if older else NEWER)).read_bytes())
    assert dict(found.image_processor.size) == size
    assert (again if older else again["image_processor"])["size"] == size
    own.size = type(own.size)(**size)
    expected = [own(one, return_tensors="pt")["pixel_values"] for one in (make_picture(1, 90, 40),)]
    assert torch.equal(pictures_of(found)[0], expected[0])
    same = all(one.shape == two.shape and torch.equal(one, two) for one, two in
               zip(pictures_of(found), pictures_of(plain), strict=True))  # fmt: skip
    assert same == (family in ("llava", "gemma3"))
    rules = {PICTURES.processor_rules(one, chat=False) for one in (found, plain)}
    assert len(rules) == 1 + (not same)


def test_bounds_that_older_files_have_apart_are_set_too(tmp_path: Path) -> None:
    save("qwen2_vl", tmp_path, older=True)
    file = tmp_path / OLDER
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"min_pixels": 300, "max_pixels": 1024}))
    with with_picture_size(tmp_path, 16) as folder:
        changed = json.loads((folder / OLDER).read_bytes())
        assert dict(KIND.load_processor(folder).image_processor.size) == changed["size"]  # type: ignore[attr-defined]
    assert (changed["min_pixels"], changed["max_pixels"]) == (256, 256)


@pytest.mark.parametrize(
    ("family", "pixels", "words"),
    [
        ("llava", 32, "its vision tower sees pictures of 16 × 16 pixels and no others; remove the key"),
        ("llava_next", 32, "its vision tower sees pictures of 16 × 16 pixels and no others"),
        ("llava_onevision", 32, "its vision tower sees pictures of 16 × 16 pixels and no others"),
        ("internvl", 32, "its vision tower sees pictures of 16 × 16 pixels and no others"),
        ("gemma3", 32, "its vision tower sees pictures of 16 × 16 pixels and no others"),
        ("idefics3", 48, "Idefics3ImageProcessorPil scales pictures to 32 pixels; write at most that"),
        ("qwen2_vl", 48, "Qwen2VLImageProcessorPil scales pictures to 32 pixels; write at most that"),
        ("qwen2_vl", 10**9, "a size of 1000000000 pixels is not from 16 to 4096"),
    ],
)
def test_a_size_that_cannot_be_is_refused(family: str, pixels: int, words: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    with pytest.raises(MergingError) as refused, with_picture_size(tmp_path, pixels):
        pass
    assert str(refused.value).startswith(words)


def test_without_a_size_the_model_s_own_files_are_read(tmp_path: Path) -> None:
    with with_picture_size(tmp_path, None) as folder:
        assert folder == tmp_path
