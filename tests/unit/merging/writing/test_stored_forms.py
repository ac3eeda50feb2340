"""The same weights in other forms: tied under either name, tied beside untied, with masks of old versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import _SHORT_NAMED, FAMILIES, Kinds, tiny_model
from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.reader import parse_merge_config
from merging.models.live import LiveModel
from merging.models.stored_model import read_stored_model
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.family import TensorHeader, family_mismatch, is_mask_buffer
from merging.writing.assembly import Assembly, assemble
from merging.writing.release import Contents, render_config, write_folder

EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
KINDS: Kinds = {
    **FAMILIES,
    "gpt-neo": (
        transformers.GPTNeoConfig,
        {**_SHORT_NAMED, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64},
    ),
}


def merge(target: Path, weights: dict[str, float], **more: Any) -> Assembly:
    """A linear merge of folders next to the target, written there."""
    models = [{"model": str(target.parent / name), "parameters": {"weight": value}} for name, value in weights.items()]
    config = parse_merge_config({"merge_method": "linear", "models": models, **more})
    files = {name: Checkpoint.open(Path(name.location)) for name in config.models}
    assembly = assemble(config, {name: read_stored_model(file) for name, file in files.items()})
    make = assembly.maker(files, {name: name for name in files}, 0)
    settings = {"config.json": render_config(assembly.config)}
    write_folder(target, Contents(assembly.shapes, assembly.dtype, make, settings))
    return assembly


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    weights = change(load_file(folder / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")


def state(folder: Path) -> dict[str, Tensor]:
    """The weights as transformers reads them."""
    found: dict[str, Tensor] = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    return found


def under_the_head_s_name(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors' save_model may store a tied weight."""
    return {HEAD if name == EMBEDDINGS else name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("renamed", [("a", "b"), ("a",), ("b",)])
def test_a_tied_weight_may_be_stored_under_the_head_s_name_alone(renamed: tuple[str, ...], tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        tiny_model("llama-tied", seed=seed).save_pretrained(tmp_path / name)
        before = state(tmp_path / name)
        if name in renamed:
            rewrite(tmp_path / name, under_the_head_s_name)
        assert all(torch.equal(tensor, before[key]) for key, tensor in state(tmp_path / name).items())
    merge(tmp_path / "out", {"a": 1, "b": 3})
    one, two, found = state(tmp_path / "a"), state(tmp_path / "b"), state(tmp_path / "out")
    for name in (EMBEDDINGS, HEAD, "model.norm.weight"):
        torch.testing.assert_close(found[name], (one[name] + 3 * two[name]) / 4, rtol=0, atol=1e-6)


def test_a_live_model_takes_it_too(tmp_path: Path) -> None:
    tiny_model("llama-tied", seed=1).save_pretrained(tmp_path / "a")
    rewrite(tmp_path / "a", under_the_head_s_name)
    name = ModelId("tiny/a", "0" * 40)
    live = LiveModel(tmp_path / "a", {name: Checkpoint.open(tmp_path / "a")}, dtype="float32")
    assert HEAD in live.become(WeightMerge.single(name, Partition.even(2, 1, False, False), "float32"))
    assert all(torch.equal(tensor, live.model.state_dict()[key]) for key, tensor in state(tmp_path / "a").items())


@pytest.mark.parametrize("first", ["tied", "untied"])
def test_tied_and_untied_heads_are_merged_into_a_head_of_its_own(first: str, tmp_path: Path) -> None:
    tiny_model("llama-tied", seed=1).save_pretrained(tmp_path / "tied")
    tiny_model("llama", seed=2).save_pretrained(tmp_path / "untied")
    order = sorted(("tied", "untied"), key=lambda name: name != first)
    weights = {name: 1.0 if name == "tied" else 3.0 for name in order}
    assembly = merge(tmp_path / "out", weights)
    assert assembly.config["tie_word_embeddings"] is False
    assert [remark.partition(":")[0] for remark in assembly.remarks] == ["tie_word_embeddings"]
    tied, untied, found = (state(tmp_path / name) for name in ("tied", "untied", "out"))
    for name in (EMBEDDINGS, HEAD):
        torch.testing.assert_close(found[name], (tied[name] + 3 * untied[name]) / 4, rtol=0, atol=1e-6)
    assert not torch.equal(found[EMBEDDINGS], found[HEAD])


def test_a_head_of_its_own_comes_from_the_last_slice(tmp_path: Path) -> None:
    tiny_model("llama-tied", seed=1).save_pretrained(tmp_path / "tied")
    tiny_model("llama", seed=2).save_pretrained(tmp_path / "untied")
    slices = [
        {"sources": [{"model": str(tmp_path / name), "layer_range": layers}]}
        for name, layers in (("untied", [0, 1]), ("tied", [1, 2]))
    ]
    config = parse_merge_config({"merge_method": "passthrough", "slices": slices})
    files = {name: Checkpoint.open(Path(name.location)) for name in config.models}
    assembly = assemble(config, {name: read_stored_model(file) for name, file in files.items()})
    [(model, stored)] = assembly.tasks[HEAD].sources
    assert (Path(model.location).name, stored) == ("tied", EMBEDDINGS)
    assert assembly.tasks[EMBEDDINGS].sources[0][0] == ModelId(str(tmp_path / "untied"))


MASKS: dict[str, tuple[str, Callable[[int], dict[str, Tensor]]]] = {
    "gpt2": (
        "gpt2",
        lambda layer: {
            f"transformer.h.{layer}.attn.bias": torch.ones(64, 64, dtype=torch.uint8).tril().view(1, 1, 64, 64),
            f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e4),
        },
    ),
    "gpt2 in float32, without its prefix": (
        "gpt2",
        lambda layer: {f"h.{layer}.attn.bias": torch.ones(64, 64).tril().view(1, 1, 64, 64)},
    ),
    "gpt-neo": (
        "gpt-neo",
        lambda layer: {
            f"transformer.h.{layer}.attn.attention.bias": torch.ones(64, 64, dtype=torch.bool).view(1, 1, 64, 64),
            f"transformer.h.{layer}.attn.attention.masked_bias": torch.tensor(-1e9),
        },
    ),
}


@pytest.mark.parametrize(("kind", "masks"), MASKS.values(), ids=MASKS)
def test_causal_masks_of_old_checkpoints_are_passed_over(
    kind: str, masks: Callable[[int], dict[str, Tensor]], tmp_path: Path
) -> None:
    tiny_model(kind, seed=1, kinds=KINDS).save_pretrained(tmp_path / "a")
    clean = Checkpoint.open(tmp_path / "a")
    rewrite(tmp_path / "a", lambda weights: weights | masks(0) | masks(1))
    masked = Checkpoint.open(tmp_path / "a")
    assert family_mismatch(clean.headers, masked.headers) is None is family_mismatch(masked.headers, clean.headers)
    merge(tmp_path / "out", {"a": 1})
    found = state(tmp_path / "out")
    assert all(torch.equal(tensor, found[name]) for name, tensor in state(tmp_path / "a").items())
    assert not any(
        "bias" in name and masked.headers[name].shape[:2] == (1, 1) for name in found if name in masked.headers
    )


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.attn.bias", (1, 96)),
        ("model.layers.0.self_attn.q_proj.bias", (1, 1, 8, 8)),
        ("model.layers.0.attn.bias_k", (1, 1, 8, 8)),
        ("model.layers.0.attn.masked_bias", (8,)),
    ],
)
def test_a_bias_that_is_a_weight_is_no_mask(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert not is_mask_buffer(TensorHeader(name, shape, "F32"))
    tiny_model("llama", seed=1).save_pretrained(tmp_path / "a")
    rewrite(tmp_path / "a", lambda weights: weights | {name: torch.zeros(shape)})
    with pytest.raises(MergingError, match="has no place in LlamaForCausalLM"):
        read_stored_model(Checkpoint.open(tmp_path / "a"))
