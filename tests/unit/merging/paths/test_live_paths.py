from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import FAMILIES, pool, recipe_of
from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.live import LiveModel
from merging.partition import Partition
from merging.paths.layout import check_rearrangeable, lay_out
from merging.paths.live import PathModels
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

LAYERS = 3
WHOLE = Partition.even(LAYERS, 1, False, False)


def path_over(sources: list[ModelId], hops: list[Hop], dtype: str = "float32") -> PathRecipe:
    return PathRecipe(tuple(WeightMerge.single(source, WHOLE, dtype) for source in sources), tuple(hops), 0, 1)


def test_a_candidate_refers_to_its_sources_mapped_files(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=2, layers=LAYERS)
    first, second = checkpoints.values()
    models = PathModels(tmp_path / "model-0", checkpoints, dtype="float32")
    path = path_over(list(checkpoints), [Hop(0, 0, 1.0), Hop(1, 2, 1.0), Hop(1, 2, 0.5), Hop(0, 1, 2.0)])
    weights = models.model(path).state_dict()

    def where(checkpoint: Checkpoint, name: str) -> int:
        return checkpoint.tensor(name).data_ptr()

    assert weights["model.embed_tokens.weight"].data_ptr() == where(first, "model.embed_tokens.weight")
    assert weights["lm_head.weight"].data_ptr() == where(second, "lm_head.weight")
    for hop, checkpoint, layer in ((0, first, 0), (1, second, 2), (2, second, 2), (3, first, 1)):
        for name in ("mlp.up_proj", "self_attn.q_proj", "input_layernorm"):
            own = weights[f"model.layers.{hop}.{name}.weight"].data_ptr()
            assert own == where(checkpoint, f"model.layers.{layer}.{name}.weight")
    scaled = weights["model.layers.2.mlp.down_proj.weight"]
    assert scaled.data_ptr() != where(second, "model.layers.2.mlp.down_proj.weight")
    assert torch.equal(scaled, second.tensor("model.layers.2.mlp.down_proj.weight") * 2)
    unscaled = weights["model.layers.3.mlp.down_proj.weight"]  # 0.5 · 2 is 1 again
    assert unscaled.data_ptr() == where(first, "model.layers.1.mlp.down_proj.weight")


def test_making_candidates_leaves_the_sources_as_they_were(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "gemma2", sources=2, layers=LAYERS)
    before = {
        name: tensor.clone()
        for name in next(iter(checkpoints.values())).names
        for tensor in [tensor_of(checkpoints, name)]
    }
    models = PathModels(tmp_path / "model-0", checkpoints, dtype="float32")
    parts = tuple(WeightMerge.single(source, WHOLE, "float32") for source in checkpoints)
    one = PathRecipe(parts, (Hop(0, 0, 0.7), Hop(1, 1, 1.3)), 0, 0)
    prompt = torch.arange(3, 13)[None]
    with torch.no_grad():
        first = models.model(one).model(prompt).last_hidden_state
        models.model(PathRecipe(parts, (Hop(0, 1, 2.0), Hop(1, 0, 0.5), Hop(1, 2, 1.1)), 0, 0))
        assert torch.equal(models.model(one).model(prompt).last_hidden_state, first)
    assert all(torch.equal(tensor_of(checkpoints, name), tensor) for name, tensor in before.items())


def tensor_of(checkpoints: dict[ModelId, Checkpoint], name: str) -> torch.Tensor:
    return next(iter(checkpoints.values())).tensor(name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_of_merges_are_those_of_their_live_models_and_releases(dtype: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "qwen3", sources=3, layers=LAYERS, dtype=torch.float32)
    merge = recipe_of("ties", list(checkpoints), Partition.even(LAYERS, 3, True, True), dtype=dtype)
    alone = WeightMerge.single(list(checkpoints)[2], WHOLE, dtype)
    hops = (Hop(0, 0, 0.9), Hop(0, 1, 1.0), Hop(1, 1, 1.2), Hop(0, 2, 1.0))
    path = PathRecipe((merge, alone), hops, 0, 0)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype=dtype)
    live.become(merge)
    model: Any = PathModels(tmp_path / "model-0", checkpoints, dtype=dtype).model(path)
    for hop, layer in ((1, 1), (3, 2)):
        own, merged = model.model.layers[hop].mlp.up_proj.weight, live.model.model.layers[layer].mlp.up_proj.weight
        assert torch.equal(own, merged)
    write_release(path, checkpoints, tmp_path / "release", {}, config_source=tmp_path / "model-0")
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "release", dtype="auto")
    assert written.dtype == model.dtype
    for name, weight in written.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


SLIDING, FULL = "sliding_attention", "full_attention"
MIXED: Mapping[str, Mapping[str, Any]] = {
    "gemma2": {"layer_types": [SLIDING, FULL, SLIDING]},
    "gemma3": {"layer_types": [SLIDING, FULL, SLIDING]},
    "cohere2": {"layer_types": [SLIDING, FULL, SLIDING]},
    "olmo3": {"layer_types": [SLIDING, FULL, SLIDING]},
    "qwen2": {"layer_types": [SLIDING, FULL, SLIDING], "use_sliding_window": True},
    "qwen3": {"layer_types": [SLIDING, FULL, SLIDING], "use_sliding_window": True},
    "ministral": {"layer_types": [SLIDING, FULL, SLIDING]},
    "exaone4": {"layer_types": [SLIDING, FULL, SLIDING]},
    "smollm3": {"no_rope_layers": [1, 0, 1], "layer_types": [SLIDING, FULL, SLIDING], "use_sliding_window": True},
}


@pytest.mark.parametrize("kind", MIXED)
def test_layers_keep_their_kind_of_attention_at_their_new_place(kind: str, tmp_path: Path) -> None:
    config_class, values = FAMILIES[kind]
    mixed = {kind: (config_class, {**values, **MIXED[kind], "sliding_window": 4})}
    checkpoints = pool(tmp_path, kind, sources=2, layers=LAYERS, kinds=mixed)
    parts = tuple(WeightMerge.single(source, WHOLE, "float32") for source in checkpoints)
    path = PathRecipe(parts, tuple(Hop(part, layer, 1.0) for part, layer in NEW_PLACES), 0, 0)
    live = PathModels(tmp_path / "model-0", checkpoints, dtype="float32").model(path)
    write_release(path, checkpoints, tmp_path / "release", {})
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "release")
    by_hand = of_blocks([AutoModelForCausalLM.from_pretrained(one.folder) for one in checkpoints.values()])
    assert by_hand.config.layer_types == [FULL, FULL, SLIDING, SLIDING, SLIDING] == live.config.layer_types
    prompt = torch.arange(3, 15)[None]  # three times as long as the window
    with torch.no_grad():
        for model in (live, written):
            torch.testing.assert_close(model(prompt).logits, by_hand(prompt).logits, rtol=0, atol=1e-5)


NEW_PLACES = ((0, 1), (1, 1), (1, 0), (0, 2), (0, 0))


def of_blocks(sources: list[Any]) -> Any:
    """The model of NEW_PLACES with the sources' own blocks in it, their kinds written down one by one."""
    config = sources[0].config.to_dict() | {"num_hidden_layers": len(NEW_PLACES)}
    for name in MIXED[config["model_type"].removesuffix("_text")].keys() - {"use_sliding_window"}:
        config[name] = [config[name][1], config[name][1], config[name][0], config[name][2], config[name][0]]
    model = AutoModelForCausalLM.from_config(type(sources[0].config)(**config)).eval()
    ends = {name: weight for name, weight in sources[0].state_dict().items() if ".layers." not in name}
    model.load_state_dict(ends, strict=False)
    for number, (part, layer) in enumerate(NEW_PLACES):
        model.model.layers[number] = copy.deepcopy(sources[part].model.layers[layer])
        model.model.layers[number].self_attn.layer_idx = number  # its place in the cache
    return model


def test_a_path_that_the_models_cannot_have_is_refused(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama-tied", sources=2, layers=LAYERS)
    path = path_over(list(checkpoints), [Hop(0, 0, 1.0)])
    models = PathModels(tmp_path / "model-0", checkpoints, dtype="float32")
    with pytest.raises(MergingError, match=r"path\.head: got part 1: the embeddings are tied, so take 0"):
        models.model(path)
    with pytest.raises(MergingError, match="dtype: got bfloat16: these models are built in float32"):
        models.model(path_over(list(checkpoints), [Hop(0, 0, 1.0)], "bfloat16"))
    stranger = ModelId("tiny/stranger", "f" * 40)
    with pytest.raises(MergingError, match=r"sources: got tiny/stranger@f+: its checkpoint was not given"):
        models.model(path_over([stranger, *checkpoints][:2], [Hop(0, 0, 1.0)]))


def test_models_whose_layers_cannot_be_rearranged_are_refused() -> None:
    shapes = {f"model.layers.{layer}.mlp.down_proj.weight": (4, 8) for layer in range(2)}
    check_rearrangeable({"model_type": "llama"}, shapes, 2, "a/b")
    odd = {**shapes, "model.layers.1.mlp.down_proj.weight": (4, 16)}
    with pytest.raises(
        MergingError, match=r"a/b: model\.layers\.0\.mlp\.down_proj\.weight is not the same in layers 0 and 1"
    ):
        check_rearrangeable({"model_type": "llama"}, odd, 2, "a/b")
    with pytest.raises(MergingError, match="a/b: model_type is 'opt': no way is known to fold"):
        check_rearrangeable({"model_type": "opt"}, shapes, 2, "a/b")
    with pytest.raises(MergingError, match="a/b: apply_residual_connection_post_layernorm is True"):
        config = {"model_type": "falcon", "apply_residual_connection_post_layernorm": True}
        check_rearrangeable(config, shapes, 2, "a/b")
    with pytest.raises(MergingError, match="a/b: layer_types has 3 entries for 2 layers: fix its"):
        kinds = ["full_attention"] * 3
        check_rearrangeable({"model_type": "qwen3", "layer_types": kinds}, shapes, 2, "a/b")


def test_every_tensor_of_the_result_is_planned_once(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=2, layers=LAYERS)
    names = next(iter(checkpoints.values())).names
    path = path_over(list(checkpoints), [Hop(1, 2, 0.5), Hop(1, 2, 1.0)])
    layout = lay_out(path, names, {"model_type": "llama", "tie_word_embeddings": False})
    assert {taken.part for name, taken in layout.items() if ".layers." not in name} == {0, 1}
    assert {name for name, taken in layout.items() if taken.fold} == {
        f"model.layers.{hop}.{part}.weight" for hop in range(2) for part in ("self_attn.o_proj", "mlp.down_proj")
    }
    assert {taken.stream for name, taken in layout.items() if ".layers." in name} == {0.5}
