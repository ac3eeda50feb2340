"""A live pipeline becomes one recipe after another: merged components are rewritten, whole ones are swapped."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig

from fixtures.tiny_pipelines import draw, make_source
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.models.components import read_components
from merging.partition import Partition
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.model_config import read_model_config
from merging.writing.release import write_release

IMAGE = KINDS["image"]
VISION = {
    **{"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
    **{"image_size": 8, "patch_size": 8},
}
FIRST, SECOND = ModelId("author/first", "1" * 40), ModelId("author/second", "2" * 40)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Mapping[ModelId, PipelineWeights]:
    """The first as anyone saves it; the second in a variant, in shards, with another vocabulary."""
    folder: Path = tmp_path_factory.mktemp("sources")
    make_source("StableDiffusionPipeline", 0).save_pretrained(folder / "first")
    second = make_source("StableDiffusionPipeline", 1)
    second.text_encoder.resize_token_embeddings(20)
    second.save_pretrained(folder / "second", variant="fp16", max_shard_size="20KB")
    return {FIRST: open_pipeline(folder / "first"), SECOND: open_pipeline(folder / "second")}


def divide(sources: Mapping[ModelId, PipelineWeights], text_encoder: ModelId) -> Partition:
    first = sources[FIRST]
    components = read_components(read_model_config(first.folder), "first")
    groups = IMAGE.partition(first.names, bands=2, modules_apart=False, ends_apart=False, components=components)
    return groups.taking({"VAE": FIRST, "text encoder": text_encoder})


def average(groups: Partition, shares: tuple[float, ...] = (0.5, 0.5), dtype: str = "float32") -> WeightMerge:
    rows = (shares, tuple(1 - share for share in shares))
    return WeightMerge("linear", (FIRST, SECOND), None, groups, (("weight", rows),), dtype, 0)


def test_a_text_encoder_is_taken_whole_from_a_source_with_its_tokenizer(
    sources: Mapping[ModelId, PipelineWeights], tmp_path: Path
) -> None:
    live = IMAGE.live(sources[FIRST].folder, sources, dtype="float32")
    own, other = (average(divide(sources, source)) for source in (FIRST, SECOND))
    encoders = {}
    for name, recipe in (("own", own), ("other", other), ("own again", own)):
        pipeline = recipe.live_model(live)
        encoders[name] = pipeline.text_encoder, pipeline.tokenizer
        hashes = write_release(recipe, sources, tmp_path / name, {})
        loaded = DiffusionPipeline.from_pretrained(tmp_path / name)
        assert np.array_equal(draw(pipeline), draw(loaded))
        assert pipeline.text_encoder.config.vocab_size == loaded.text_encoder.config.vocab_size
        assert not [path for path in hashes if "fp16" in path]
    assert encoders["own"] == encoders["own again"] and encoders["own"][0] is encoders["own again"][0]
    assert encoders["other"][0].get_input_embeddings().weight.shape == (20, 16)


def test_a_pipeline_is_built_for_the_length_of_the_tokenizer_that_comes_with_a_text_encoder(tmp_path: Path) -> None:
    family = {}
    for model, length in ((FIRST, 8), (SECOND, 6)):
        pipeline = make_source("StableDiffusion3Pipeline", length)
        pipeline.tokenizer.model_max_length = length
        pipeline.save_pretrained(tmp_path / str(length))
        family[model] = open_pipeline(tmp_path / str(length))
    live = IMAGE.live(family[FIRST].folder, family, dtype="float32")
    for name, source in (("other", SECOND), ("own", FIRST)):
        recipe = average(divide(family, source), (0.5,) * 4)
        drawn = draw(recipe.live_model(live))
        write_release(recipe, family, tmp_path / name, {})
        assert np.array_equal(drawn, draw(DiffusionPipeline.from_pretrained(tmp_path / name)))


def test_a_source_alone_draws_what_it_draws_by_itself(
    sources: Mapping[ModelId, PipelineWeights], tmp_path: Path
) -> None:
    """With its own text encoder, and with the tokenizer that belongs to that."""
    alone = WeightMerge.single(SECOND, divide(sources, FIRST).merged.single_group, "float32", carrier=FIRST)
    drawn = draw(alone.live_model(IMAGE.live(sources[FIRST].folder, sources, dtype="float32")))
    write_release(alone, sources, tmp_path / "alone", {}, config_source=sources[FIRST].folder)
    for folder, variant in ((tmp_path / "alone", None), (sources[SECOND].folder, "fp16")):
        assert np.array_equal(drawn, draw(DiffusionPipeline.from_pretrained(folder, variant=variant)))
    unadapted = draw(
        average(divide(sources, FIRST), (0.0, 1.0)).live_model(
            IMAGE.live(sources[FIRST].folder, sources, dtype="float32")
        )
    )
    assert not np.array_equal(drawn, unadapted)


def test_shards_and_variants_are_read_and_shards_written(
    sources: Mapping[ModelId, PipelineWeights], tmp_path: Path
) -> None:
    assert len(sources[SECOND].files["unet"].shards) > 1 and sources[SECOND].files["unet"].variant == "fp16"
    recipe = average(divide(sources, FIRST), (1.0, 0.25))
    hashes = write_release(recipe, sources, tmp_path / "release", {}, max_shard_bytes=20_000)
    assert "unet/diffusion_pytorch_model.safetensors.index.json" in hashes
    pipeline = recipe.live_model(IMAGE.live(sources[FIRST].folder, sources, dtype="float32"))
    assert np.array_equal(draw(pipeline), draw(DiffusionPipeline.from_pretrained(tmp_path / "release")))
    carried = {FIRST: sources[SECOND], SECOND: sources[SECOND]}
    write_release(WeightMerge.single(FIRST, recipe.groups, "float32"), carried, tmp_path / "copied", {})
    index = json.loads((tmp_path / "copied" / "model_index.json").read_bytes())
    assert index["_class_name"] == "StableDiffusionPipeline"
    copied = DiffusionPipeline.from_pretrained(tmp_path / "copied")
    stored = sources[SECOND]
    for folder in ("unet", "vae", "text_encoder"):
        for name, weight in copied.components[folder].state_dict().items():
            assert torch.equal(weight, stored.tensor(f"{folder}.{name}"))


def test_a_recipe_in_half_precision_draws_as_the_release_that_is_loaded_so(
    sources: Mapping[ModelId, PipelineWeights], tmp_path: Path
) -> None:
    recipe = average(divide(sources, FIRST), dtype="bfloat16")
    write_release(recipe, sources, tmp_path / "release", {})
    pipeline = recipe.live_model(IMAGE.live(sources[FIRST].folder, sources, dtype="bfloat16"))
    loaded = IMAGE.load(tmp_path / "release")
    assert loaded.unet.dtype is torch.bfloat16 and np.array_equal(draw(pipeline), draw(loaded))


def test_only_what_a_recipe_changes_is_rewritten(sources: Mapping[ModelId, PipelineWeights]) -> None:
    live = IMAGE.live(sources[FIRST].folder, sources, dtype="float32")
    groups = divide(sources, FIRST)
    recipe, other = average(groups, (0.5, 0.5)), average(groups, (0.5, 0.75))
    pipeline = recipe.live_model(live)
    in_first = {name for name in dict(pipeline.unet.named_parameters()) if groups.group(f"unet.{name}") == 0}
    with torch.no_grad():
        for parameter in pipeline.unet.parameters():
            parameter.fill_(7.0)
    changed = other.live_model(live)
    kept = {name for name, weight in changed.unet.named_parameters() if bool((weight == 7).all())}
    assert changed is pipeline and kept == in_first and kept


def test_a_component_has_another_key_whenever_its_weights_are_others(
    sources: Mapping[ModelId, PipelineWeights],
) -> None:
    """By which prompts are known to be encoded already."""
    live, own, other = (
        IMAGE.live(sources[FIRST].folder, sources, dtype="float32"),
        *(divide(sources, one) for one in (FIRST, SECOND)),
    )

    def keys(recipe: WeightMerge) -> tuple[str, str]:
        pipeline = recipe.live_model(live)
        return pipeline.unet.weights_key, pipeline.text_encoder.weights_key

    first, changed = keys(average(own)), keys(average(own, (0.25, 0.5)))
    assert changed[0] != first[0] and changed[1] == first[1]
    assert keys(average(own, (0.25, 0.5))) == changed
    assert keys(average(other, (0.25, 0.5)))[1] not in {None, first[1]}
    assert keys(average(own, (0.25, 0.5)))[1] == first[1]
    halfway = mock.patch("merging.models.live.LiveWeights.become", side_effect=MergingError("not finite"))
    with halfway, pytest.raises(MergingError, match="not finite"):
        average(own).live_model(live)
    assert live.model.unet.weights_key is None


def test_what_a_live_pipeline_cannot_become_is_refused(
    sources: Mapping[ModelId, PipelineWeights], tmp_path: Path
) -> None:
    live = IMAGE.live(sources[FIRST].folder, sources, dtype="float32")
    recipe = average(divide(sources, FIRST))
    with pytest.raises(MergingError, match="dtype: got bfloat16"):
        replace(recipe, dtype="bfloat16").live_model(live)
    merged = recipe.groups.merged
    weights = (("weight", ((0.5, 0.5), (0.5, 0.5))),)
    with pytest.raises(MergingError, match=r"text_encoder.*is \[20, 16\], the carrier's \[16, 16\]"):
        replace(recipe, groups=merged, parameters=weights).live_model(live)
    with pytest.raises(MergingError, match=r"documents: got 'unet'"):
        write_release(recipe, sources, tmp_path / "release", {"unet": b""})
    shutil.copytree(sources[SECOND].folder, tmp_path / "less")
    less = {**sources, SECOND: open_pipeline(tmp_path / "less")}
    shutil.rmtree(tmp_path / "less" / "tokenizer")
    with pytest.raises(MergingError, match=f"{SECOND}: it lacks the component tokenizer"):
        write_release(average(divide(sources, SECOND)), less, tmp_path / "release", {})
    assert not (tmp_path / "release").exists()


def test_a_pipeline_whose_files_lack_a_weight_is_refused(tmp_path: Path) -> None:
    make_source("StableDiffusionPipeline", 0).save_pretrained(tmp_path)
    checker = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=8, vision_config=VISION, text_config={}))
    checker.save_pretrained(tmp_path / "safety_checker")
    index = json.loads((tmp_path / "model_index.json").read_bytes())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for file, weight in (
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.weight"),
        ("safety_checker/model.safetensors", "visual_projection.weight"),  # nobody else looks at this component
    ):
        whole = load_file(tmp_path / file)
        save_file({name: one for name, one in whole.items() if name != weight}, tmp_path / file, {"format": "pt"})
        with pytest.raises(MergingError, match=rf"{Path(file).parent}: its files lack the weight {re.escape(weight)}"):
            IMAGE.live(tmp_path, {}, dtype="float32")
        save_file(whole, tmp_path / file, {"format": "pt"})


def test_a_path_is_refused(sources: Mapping[ModelId, PipelineWeights], tmp_path: Path) -> None:
    groups = Partition.even(1, 1, modules_apart=False, ends_apart=False)
    parts = (WeightMerge.single(FIRST, groups, "float32"), WeightMerge.single(SECOND, groups, "float32"))
    path = PathRecipe(parts, (Hop(0, 0, 1.0), Hop(1, 0, 1.0)), 0, 0)
    for attempt in (
        lambda: path.live_model(IMAGE.live(sources[FIRST].folder, sources, dtype="float32")),
        lambda: write_release(path, sources, tmp_path / "release", {}),
    ):
        with pytest.raises(MergingError, match="path of 2 layers: pipelines are merged by their weights alone"):
            attempt()
