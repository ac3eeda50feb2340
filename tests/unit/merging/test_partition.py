"""Partitions: which tensors share a gene, component by component, block by block, module by module."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import pool, recipe_of, tiny_model
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.models.building import stored_weights
from merging.models.live import LiveModel, LiveModels
from merging.partition import Block, Component, Partition, Searched, Shared, Whole, banded_stack, find_routers
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.tensor_names import count_layers
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

WHOLE = Partition.even(4, 1, False, False)
A, B = (ModelId(f"tiny/{name}", name * 40) for name in "ab")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("model.embed_tokens.weight", "embed"),
        ("transformer.wte.weight", "embed"),
        ("wpe.weight", "embed"),
        ("model.decoder.embed_positions.weight", "embed"),
        ("model.decoder.project_in.weight", "embed"),
        ("model.decoder.project_out.weight", "head"),
        ("model.layers.0.self_attn.q_proj.weight", "layers 0-1 attention"),
        ("transformer.h.1.attn.c_attn.bias", "layers 0-1 attention"),
        ("h.3.attn.c_proj.weight", "layers 2-3 attention"),
        ("model.layers.3.mlp.experts.5.down_proj.weight", "layers 2-3 rest"),
        ("model.layers.2.post_attention_layernorm.weight", "layers 2-3 rest"),
        ("model.layers.2.input_layernorm.weight", "layers 2-3 rest"),
        ("model.norm.weight", "head"),
        ("transformer.ln_f.bias", "head"),
        ("lm_head.weight", "head"),
    ],
)
def test_a_tensor_is_in_the_group_that_its_name_says(name: str, label: str) -> None:
    groups = Partition.even(4, 2, modules_apart=True, ends_apart=True)
    assert groups.labels[groups.group(name)] == label


def test_ends_that_are_not_apart_go_with_the_first_and_the_last_band() -> None:
    groups = Partition.even(4, 2, modules_apart=True, ends_apart=False)
    assert groups.labels[groups.group("model.embed_tokens.weight")] == "layers 0-1 rest"
    assert groups.labels[groups.group("lm_head.weight")] == "layers 2-3 rest"
    assert groups.labels == ("layers 0-1 attention", "layers 0-1 rest", "layers 2-3 attention", "layers 2-3 rest")


def test_a_band_of_one_layer_is_called_by_its_number_and_stored_as_it_was() -> None:
    single = Partition.even(2, 2, modules_apart=True, ends_apart=True)
    assert single.labels == ("embed", "layer 0 attention", "layer 0 rest", "layer 1 attention", "layer 1 rest", "head")
    assert [block.label for block in single.only_stack.blocks] == ["embed", "layers 0-0", "layers 1-1", "head"]
    assert Partition.from_json(single.to_json()) == single


GROUPS_OF_A_MIXTURE = ("attention", "rest", "routers")
ROUTED = {
    "mixtral": "block_sparse_moe.gate.weight",
    "qwen2-moe": "mlp.gate.weight",
    "granite-moe": "block_sparse_moe.router.layer.weight",
    "gpt-oss": "mlp.router.bias",
    "deepseek-v3": "mlp.gate.e_score_correction_bias",
    "llama4": "feed_forward.router.weight",
    "jamba": "feed_forward.router.weight",
}


@pytest.mark.parametrize("kind", ROUTED)
def test_the_routers_of_a_mixture_are_a_group_where_modules_are_apart(kind: str) -> None:
    names = tuple(stored_weights(tiny_model(kind, seed=0)))
    groups = kind_of({"architectures": []}).partition(names, bands=1, modules_apart=True, ends_apart=True)
    assert groups.labels == ("embed", "layers 0-1 attention", "layers 0-1 rest", "layers 0-1 routers", "head")
    routers = {name.partition("layers.1.")[2] for name in names if groups.group(name) == 3 and ".layers.1." in name}
    assert ROUTED[kind] in routers and not any("expert" in name or "proj" in name for name in routers)
    assert {groups.group(name) for name in names if ".experts." in name} <= {2}
    data = json.loads(json.dumps(groups.to_json()))
    assert Partition.from_json(data) == groups and data["version"] == 2
    together = kind_of({"architectures": []}).partition(names, bands=1, modules_apart=False, ends_apart=True)
    assert together == Partition.even(2, 1, modules_apart=False, ends_apart=True)


def test_a_band_without_experts_has_no_routers_and_a_dense_gate_is_none() -> None:
    names = tuple(stored_weights(tiny_model("deepseek-v3", seed=0)))
    groups = kind_of({"architectures": []}).partition(names, bands=2, modules_apart=True, ends_apart=False)
    assert groups.labels == ("layer 0 attention", "layer 0 rest", *(f"layer 1 {m}" for m in GROUPS_OF_A_MIXTURE))
    assert find_routers(["model.layers.0.mixer.gate.weight", "model.layers.0.mixer.proj.weight"]) is None


def test_uneven_layers_make_bands_that_differ_by_one() -> None:
    assert Partition.even(7, 3, False, False) == Partition.banded(7, ((0, 2), (2, 4), (4, 7)), False, False)


@pytest.mark.parametrize("bands", [(), ((0, 2), (3, 4)), ((0, 2), (2, 2), (2, 4)), ((0, 3),), ((1, 4),)])
def test_bands_that_do_not_cover_the_layers_are_refused(bands: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(MergingError, match=r"groups\.bands: got .* from 0 to 4"):
        Partition.banded(4, bands, False, False)


def test_a_layer_beyond_the_architecture_is_refused_by_name() -> None:
    with pytest.raises(MergingError, match=r"model\.layers\.4\.mlp"):
        WHOLE.group("model.layers.4.mlp.up_proj.weight")


def test_layers_are_counted_from_names_and_a_gap_is_refused() -> None:
    assert count_layers(["wte.weight", "h.0.a.b", "h.1.a.b", "h.1.c.d", "ln_f.weight"]) == 2
    with pytest.raises(MergingError, match="layer 1 has no tensor"):
        count_layers(["h.0.a.b", "h.2.a.b"])


TEXT = banded_stack(((0, 2), (2, 4)), modules_apart=True, ends_apart=True)
TOWER = Component("vision", ("vision_tower",), 2, banded_stack(((0, 2),), modules_apart=False, ends_apart=True))
PROJECTOR = Component("projector", ("multi_modal_projector",), 0, banded_stack((), False, False))
LANGUAGE = Component("text", (), 4, TEXT)
TWO_STACKS = Partition((TOWER, PROJECTOR, LANGUAGE))

NAMES = {
    "model.vision_tower.vision_model.embeddings.patch_embedding.weight": "vision embed",
    "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": "vision layers 0-1",
    "model.vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight": "vision layers 0-1",
    "model.vision_tower.vision_model.post_layernorm.weight": "vision head",
    "model.multi_modal_projector.linear_1.weight": "projector all",
    "model.multi_modal_projector.linear_2.bias": "projector all",
    "model.language_model.embed_tokens.weight": "text embed",
    "model.language_model.layers.0.self_attn.q_proj.weight": "text layers 0-1 attention",
    "model.language_model.layers.1.mlp.up_proj.weight": "text layers 0-1 rest",
    "model.language_model.layers.2.mlp.up_proj.weight": "text layers 2-3 rest",
    "model.language_model.layers.3.self_attn.o_proj.weight": "text layers 2-3 attention",
    "model.language_model.layers.3.input_layernorm.weight": "text layers 2-3 rest",
    "model.language_model.norm.weight": "text head",
    "lm_head.weight": "text head",
}
"""A model of two stacks: each tensor and the label of its group."""


def test_each_component_has_groups_of_its_own() -> None:
    assert {name: TWO_STACKS.labels[TWO_STACKS.group(name)] for name in NAMES} == NAMES
    assert len(set(TWO_STACKS.labels)) == len(TWO_STACKS.labels) == 10
    TWO_STACKS.check_names(NAMES)


def test_two_stacks_are_never_one() -> None:
    with pytest.raises(MergingError, match=r"several stacks \(model\.language_model\.layers, model\.vision_tower"):
        count_layers(NAMES)
    assert count_layers(NAMES, "model.language_model.layers") == 4
    assert count_layers(NAMES, "model.vision_tower.vision_model.encoder.layers") == 2
    with pytest.raises(MergingError, match="its layers are another stack than "):
        WHOLE.check_names(NAMES)


def test_lists_of_single_weights_and_layers_that_predict_further_tokens_are_not_a_stack() -> None:
    names = ["model.layers.0.mlp.up_proj.weight", "model.altup_projections.1.weight", "mtp.layers.0.mlp.up_proj.weight"]
    assert count_layers(names) == 1
    WHOLE.check_names(names)


def test_a_component_that_shares_groups_uses_those_at_the_same_depth() -> None:
    shared = Partition((dataclasses.replace(TOWER, use=Shared("text")), PROJECTOR, LANGUAGE))
    labels = {name: shared.labels[shared.group(name)] for name in NAMES if "vision" in name}
    assert list(labels.values()) == [
        "text embed",
        "text layers 0-1 attention",
        "text layers 2-3 rest",  # layer 1 of 2 is as deep as layer 2 of 4
        "text head",
    ]
    assert shared.labels == ("projector all", *(f"text {label}" for label in TEXT.labels))


def test_a_component_taken_whole_has_a_source_and_no_group() -> None:
    whole = Partition((dataclasses.replace(TOWER, use=Whole(A)), PROJECTOR, LANGUAGE))
    for name in NAMES:
        assert whole.whole_source(name) == (A if "vision_tower" in name else None)
    with pytest.raises(MergingError, match=r"post_layernorm\.weight: it is taken whole, from tiny/a@a+"):
        whole.group("model.vision_tower.post_layernorm.weight")
    assert whole.whole_sources == (A,) and not whole.open


def test_a_source_may_be_chosen_later() -> None:
    open_tower = Partition((dataclasses.replace(TOWER, use=Whole(None)), PROJECTOR, LANGUAGE))
    assert open_tower.open == ("vision",)
    assert open_tower.taking({"vision": A}).whole_sources == (A,)
    assert open_tower.merged.labels == open_tower.labels and not open_tower.merged.whole
    with pytest.raises(MergingError, match="no source for vision"):
        WeightMerge.single(A, open_tower, "float32")


def test_the_coarsest_partition_has_one_group() -> None:
    assert Partition.even(4, 3, True, True).single_group == WHOLE
    coarse = TWO_STACKS.single_group
    assert {coarse.group(name) for name in NAMES} == {0} and len(coarse.labels) == 1


def test_blocks_may_be_modules_by_name() -> None:
    blocks = tuple(Block(name, within=(f"{name}_blocks",), modules_apart=True) for name in ("down", "up"))
    ends = Block("ends", ends=("before", "after"))
    unet = Partition((Component("", (), 0, Searched((*blocks, ends))),))
    names = {
        "down_blocks.0.attentions.0.proj_in.weight": "down rest",
        "up_blocks.2.attn.to_q.weight": "up attention",
        "conv_in.weight": "ends",
    }
    assert {name: unet.labels[unet.group(name)] for name in names} == names
    unet.check_names(names)
    with pytest.raises(MergingError, match=r"mid_block\.0\.proj\.weight: it is in none of the groups down attention"):
        Partition((Component("", (), 0, Searched(blocks)),)).group("mid_block.0.proj.weight")


def test_numbers_in_a_component_without_layers_are_no_layers() -> None:
    projector = Partition((PROJECTOR, TOWER, LANGUAGE))
    name = "multi_modal_projector.mlp.0.fc.weight"
    for partition in (projector, projector.single_group):
        partition.check_names([name, "multi_modal_projector.norms.0.inner.weight", *NAMES])
        assert partition.labels[partition.group(name)] == "projector all"
    assert {projector.single_group.group(name) for name in NAMES} == {0}


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ((), "groups: got components none: at least one must be searched"),
        ((dataclasses.replace(LANGUAGE, use=Whole(A)),), "at least one must be searched"),
        ((LANGUAGE, LANGUAGE), "give each a name of its own"),
        ((LANGUAGE, dataclasses.replace(TOWER, use=Shared("sound"))), "shares the groups of 'sound': .*searched: text"),
        ((dataclasses.replace(LANGUAGE, layers=5),), r"groups\.bands: got .* for 5 layers"),
    ],
)
def test_components_that_do_not_make_a_partition_are_refused(components: tuple[Component, ...], message: str) -> None:
    with pytest.raises(MergingError, match=message):
        Partition(components)


def test_a_tensor_of_no_component_is_refused_by_name() -> None:
    with pytest.raises(MergingError, match=r"tensor audio\.weight: it is in none of the components vision, projector"):
        Partition((TOWER, PROJECTOR)).group("audio.weight")


@pytest.mark.parametrize(
    "partition",
    [
        Partition.even(4, 2, True, True),
        TWO_STACKS,
        Partition(
            (dataclasses.replace(TOWER, use=Whole(None)), dataclasses.replace(PROJECTOR, use=Whole(A)), LANGUAGE)
        ),
        Partition((dataclasses.replace(TOWER, use=Shared("text")), PROJECTOR, LANGUAGE)),
    ],
)
def test_a_partition_survives_json(partition: Partition) -> None:
    data = json.loads(json.dumps(partition.to_json()))
    assert Partition.from_json(data) == partition and data["version"] == 1


def test_the_groups_of_older_recipes_are_still_read() -> None:
    old = {
        "layers": 4,
        "bands": [[0, 2], [2, 4]],
        "modules_apart": True,
        "ends_apart": False,
        "attention": ["self_attn", "attn", "attention", "self_attention"],
    }
    assert Partition.from_json(old) == Partition.even(4, 2, modules_apart=True, ends_apart=False)
    with pytest.raises(MergingError, match=r"groups\.version: got 3: this shoal reads 1 to 2"):
        Partition.from_json({"version": 3, "components": []})


EMBEDDINGS = Component("embeddings", ("embed_tokens", "lm_head"), 0, Whole(None))
BODY = Component("body", (), 4, banded_stack(((0, 2), (2, 4)), modules_apart=True, ends_apart=False))


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_a_model_whose_embeddings_are_taken_whole_is_written_as_it_is_scored(method: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", layers=4)
    base, *others = checkpoints
    groups = Partition((EMBEDDINGS, BODY)).taking({"embeddings": others[0]})
    recipe = recipe_of(method, list(checkpoints), groups)
    plain = recipe_of(method, list(checkpoints), Partition((BODY,)))

    write_release(recipe, checkpoints, tmp_path / "ours", {})
    write_release(plain, checkpoints, tmp_path / "plain", {})
    written, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "plain"))
    for name, tensor in written.items():
        expected = checkpoints[others[0]].tensor(name) if "embed_tokens" in name or "lm_head" in name else merged[name]
        assert tensor.equal(expected), name
    assert not written["model.embed_tokens.weight"].equal(merged["model.embed_tokens.weight"])

    live = LiveModel(checkpoints[base].folder, checkpoints, dtype="float32")
    live.become(recipe)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", trust_remote_code=False)
    assert all(tensor.equal(live.model.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    changed = live.become(dataclasses.replace(recipe, groups=groups.taking({"embeddings": others[1]})))
    assert set(changed) == {"model.embed_tokens.weight", "lm_head.weight"}
    assert torch.equal(live.model.lm_head.weight, checkpoints[others[1]].tensor("lm_head.weight"))


def test_a_merge_that_mergekit_cannot_say_says_so_in_its_file(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", layers=4, sources=2)
    groups = Partition((EMBEDDINGS, BODY)).taking({"embeddings": next(iter(checkpoints))})
    write_release(recipe_of("linear", list(checkpoints), groups), checkpoints, tmp_path / "ours", {})
    text = (tmp_path / "ours" / RECIPE_NAME).read_text()
    assert text.startswith("# mergekit cannot make this merge") and "shoal.json" in text


def test_a_path_may_run_through_a_merge_whose_embeddings_are_taken_whole(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", layers=4, sources=2)
    one, other = checkpoints
    merge = recipe_of("linear", [one, other], Partition((EMBEDDINGS, BODY)).taking({"embeddings": other}))
    path = PathRecipe((merge, WeightMerge.single(one, WHOLE, "float32")), (Hop(0, 0, 1.0), Hop(1, 1, 1.0)), 0, 0)
    write_release(path, checkpoints, tmp_path / "ours", {})
    written = load_file(tmp_path / "ours" / "model.safetensors")
    assert written["model.embed_tokens.weight"].equal(checkpoints[other].tensor("model.embed_tokens.weight"))
    assert (tmp_path / "ours" / RECIPE_NAME).read_text().startswith("# mergekit cannot make this merge")
    live = path.live_model(LiveModels(checkpoints[one].folder, checkpoints, dtype="float32"))
    assert all(tensor.equal(live.state_dict()[name]) for name, tensor in written.items())


def test_a_source_that_gives_a_component_alone_is_among_the_origins() -> None:
    recipe = WeightMerge.single(A, Partition((EMBEDDINGS, BODY)).taking({"embeddings": B}), "float32")
    assert recipe.origins == (A, B) and not recipe.is_single
