"""Adapters against peft's own merge_and_unload, on tiny models of both kinds of layers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import tiny_model
from merging.errors import MergingError
from merging.models.building import build_empty_model, read_schema
from merging.models.schema import match_tensors
from merging.sources.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterCheckpoint
from merging.sources.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {"target_modules": ["q_proj", "v_proj", "down_proj"], "lora_alpha": 5}),
    "rsLoRA with patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "k_proj", "up_proj"],
            "use_rslora": True,
            "rank_pattern": {"k_proj": 2, r"layers\.1\.mlp\.up_proj": 6},
            "alpha_pattern": {"^model.layers.0.self_attn.q_proj": 9.5},
        },
    ),
    "pattern of targets": ("llama", {"target_modules": r".*\.(0|1)\.self_attn\.(q|o)_proj"}),
    "some layers": ("llama", {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"}),
    "excluded": ("llama", {"target_modules": ["q_proj", "o_proj"], "exclude_modules": ["layers.0.self_attn.o_proj"]}),
    "every linear": ("llama", {"target_modules": "all-linear", "modules_to_save": ["lm_head", "norm"]}),
    "embeddings and head": ("llama", {"target_modules": ["embed_tokens", "lm_head", "v_proj"]}),
    "tied embeddings": ("llama-tied", {"target_modules": ["embed_tokens", "v_proj"]}),
    "DoRA": ("llama", {"target_modules": ["q_proj", "gate_proj", "embed_tokens"], "use_dora": True}),
    "biases of Qwen": ("qwen2", {"target_modules": ["q_proj", "k_proj"], "bias": "lora_only", "lora_bias": True}),
    "GPT-2": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "GPT-2 with all biases": ("gpt2", {"target_modules": ["c_proj"], "bias": "all", "lora_bias": True}),
    "GPT-2 with DoRA": ("gpt2", {"target_modules": ["c_attn", "c_proj", "wte"], "use_dora": True}),
}


def adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """An adapter whose every weight is random, written by peft."""
    import peft  # takes a second, and every process that runs tests reads this file

    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(read(base), peft.LoraConfig(**{"r": 4, **settings}))
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight += 0.3 * torch.rand(weight.shape)
        model.save_pretrained(folder)
    return folder


def read(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def base_of(kind: str, folder: Path) -> Path:
    tiny_model(kind, seed=1).save_pretrained(folder)
    return folder


def rewritten(folder: Path, weights: Callable[[dict[str, torch.Tensor]], None] | None = None, **settings: Any) -> Path:
    """The adapter with other settings or weights in its files."""
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    if weights is not None:
        tensors = load_file(folder / ADAPTER_WEIGHTS)
        weights(tensors)
        save_file(tensors, folder / ADAPTER_WEIGHTS)
    return folder


def merged_by_peft(base: Path, folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of an adapter's base that peft has merged the adapter into."""
    import peft

    return peft.PeftModel.from_pretrained(read(base), folder).merge_and_unload().state_dict()


@pytest.mark.parametrize(("kind", "settings"), ADAPTERS.values(), ids=ADAPTERS)
def test_every_tensor_is_that_of_pefts_own_merged_model(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    base = base_of(kind, tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", **settings)
    ours = AdapterCheckpoint.open(Checkpoint.open(base), folder)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = merged_by_peft(base, folder)

    changed = 0
    for name, place in match_tensors(read_schema(build_empty_model(base, "float32", "meta")), [ours]).items():
        torch.testing.assert_close(ours.tensor(name), theirs[place], rtol=1e-6, atol=1e-6)
        changed += not torch.equal(ours.tensor(name), Checkpoint.open(base).tensor(name))
    assert changed >= 1
    ours.verify()


def test_a_base_that_was_saved_without_its_head_takes_the_adapter_too(tmp_path: Path) -> None:
    base = base_of("gpt2", tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", target_modules=["c_attn", "c_proj"], modules_to_save=["ln_f"])
    read(base).transformer.save_pretrained(tmp_path / "headless")

    whole = AdapterCheckpoint.open(Checkpoint.open(base), folder)
    headless = AdapterCheckpoint.open(Checkpoint.open(tmp_path / "headless"), folder)

    assert "h.0.attn.c_attn.weight" in headless.names
    for name in headless.names:
        assert torch.equal(headless.tensor(name), whole.tensor(f"transformer.{name}"))


def test_adapters_can_be_stacked_and_leave_what_is_below_them_alone(tmp_path: Path) -> None:
    base = base_of("llama", tmp_path / "base")
    one = adapter(base, tmp_path / "one", target_modules=["q_proj"])
    below = AdapterCheckpoint.open(Checkpoint.open(base), one)
    name = "model.layers.0.self_attn.q_proj.weight"
    before = below.tensor(name).clone()

    above = AdapterCheckpoint.open(below, one)

    plain = Checkpoint.open(base).tensor(name)
    torch.testing.assert_close(above.tensor(name) - plain, 2 * (before - plain), rtol=1e-5, atol=1e-6)
    assert torch.equal(below.tensor(name), before)


def test_what_a_16_bit_base_gains_is_rounded_as_the_small_number_that_it_is(
    tmp_path: Path,
) -> None:
    base = base_of("llama", tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", target_modules=["q_proj"], lora_alpha=1)
    read(base).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    ours = AdapterCheckpoint.open(Checkpoint.open(tmp_path / "half"), folder)
    name = "model.layers.1.self_attn.q_proj"
    stored = load_file(folder / ADAPTER_WEIGHTS)
    up, down = (stored[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "BA")

    start, gain = Checkpoint.open(tmp_path / "half").tensor(f"{name}.weight").double(), up @ down / 4

    assert ours.header(f"{name}.weight").dtype == "BF16"
    error = (ours.tensor(f"{name}.weight").double() - (start + gain)).abs()
    assert (error <= gain.abs() * 2**-8 + start.abs() * 2**-23).all()


def test_a_tied_head_that_was_trained_apart_is_refused_and_an_equal_one_taken(tmp_path: Path) -> None:
    base = base_of("llama-tied", tmp_path / "base")
    modules = ["lm_head", "embed_tokens"]
    folder = adapter(base, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=modules)
    with pytest.raises(MergingError, match=r"lm_head.weight: it differs from .*embed_tokens.* the base ties both"):
        AdapterCheckpoint.open(Checkpoint.open(base), folder)

    def tie(tensors: dict[str, torch.Tensor]) -> None:
        tensors["base_model.model.lm_head.weight"] = tensors["base_model.model.model.embed_tokens.weight"].clone()

    ours = AdapterCheckpoint.open(Checkpoint.open(base), rewritten(folder, tie))
    expected = load_file(folder / ADAPTER_WEIGHTS)["base_model.model.lm_head.weight"]
    assert torch.equal(ours.tensor("model.embed_tokens.weight"), expected)


def test_a_head_that_is_named_without_weights_stays_as_peft_leaves_it(tmp_path: Path) -> None:
    base = base_of("llama", tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    rewritten(folder, target_modules=["q_proj", "lm_head", "embed_tokens"])
    ours = AdapterCheckpoint.open(Checkpoint.open(base), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = merged_by_peft(base, folder)
    for name in ours.names:
        torch.testing.assert_close(ours.tensor(name), theirs[name], rtol=1e-6, atol=1e-6)
    assert torch.equal(ours.tensor("lm_head.weight"), Checkpoint.open(base).tensor("lm_head.weight"))


def test_lora_on_a_tied_head_is_refused_with_the_remedy(tmp_path: Path) -> None:
    base, tied = base_of("llama", tmp_path / "base"), base_of("llama-tied", tmp_path / "tied")
    folder = adapter(base, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    assert AdapterCheckpoint.open(Checkpoint.open(base), folder)
    with pytest.raises(MergingError) as error:
        AdapterCheckpoint.open(Checkpoint.open(tied), folder)
    why = "it ties it to model.embed_tokens.weight, which LoRA would change too"
    remedy = "save the base with tie_word_embeddings: false and a head of its own, and name that"
    assert str(error.value) == f"{folder}: the base has no lm_head.weight of its own, {why}; {remedy}"


REFUSED_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "other kind": ({"peft_type": "IA3"}, "peft_type: got 'IA3': only LORA can be merged"),
    "experts": ({"target_parameters": ["experts.down_proj"]}, "target_parameters: got .*fused experts"),
    "changed base": ({"init_lora_weights": "pissa"}, "init_lora_weights: got 'pissa': .* changed base"),
    "rank": ({"r": 7}, r"lora_A.weight is \[4, 32\], not of rank 7"),
    "no rank": ({"r": 0}, "r: got 0: it must be a whole number above 0"),
    "alpha": ({"alpha_pattern": {"q_proj": "x"}}, "alpha_pattern.q_proj: got 'x': it must be a finite number"),
    "pattern": ({"target_modules": "("}, r"pattern '\(': no regular expression"),
    "pattern of its own start": (
        {"rank_pattern": {"(?i)q_proj": 4}},
        r"pattern '\(\?i\)q_proj': no regular expression",
    ),
    "pattern without end": ({"target_modules": f"q{{{'9' * 20}}}"}, "no regular expression"),
    "endless alpha": ({"lora_alpha": 10**400}, "lora_alpha: got 1000+: it must be a finite number"),
    "no target": ({"target_modules": ["v_proj"]}, "q_proj has LoRA weights, yet target_modules leaves it out"),
    "no weights": ({"target_modules": ["q_proj", "v_proj"]}, "v_proj has no LoRA weights"),
    "not saved": ({"modules_to_save": ["lm_head"]}, "modules_to_save: got 'lm_head': the file has no weights of it"),
    "no magnitudes": ({"use_dora": True}, "q_proj lacks lora_magnitude_vector"),
}


@pytest.mark.parametrize(("settings", "reason"), REFUSED_SETTINGS.values(), ids=REFUSED_SETTINGS)
def test_settings_that_cannot_be_followed_are_refused_by_key(
    settings: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    base = base_of("llama", tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    with pytest.raises(MergingError, match=reason) as error:
        AdapterCheckpoint.open(Checkpoint.open(base), rewritten(folder, **settings))
    assert "\n" not in str(error.value)


QUERY = "base_model.model.model.layers.0.self_attn.q_proj"
REFUSED_WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], None], str]] = {
    "half of a pair": (lambda found: found.pop(f"{QUERY}.lora_B.weight"), "q_proj lacks lora_B.weight"),
    "another base": (
        lambda found: found.update({f"{QUERY}.lora_A.weight": torch.zeros(4, 16)}),
        r"its matrices make 32×16, the base's .*q_proj.weight is \[32, 32\]",
    ),
    "unknown tensor": (
        lambda found: found.update({f"{QUERY}.lora_E.weight": torch.zeros(4)}),
        "lora_E.weight is none that plain LoRA has",
    ),
    "unknown layer": (
        lambda found: found.update({"base_model.model.model.layers.7.mlp.up_proj.weight": torch.zeros(4)}),
        "the base has no model.layers.7.mlp.up_proj.weight",
    ),
    "quantised": (
        lambda found: found.update({f"{QUERY}.lora_A.weight": torch.zeros(4, 32, dtype=torch.int8)}),
        "is of dtype I8",
    ),
    "more tokens": (
        lambda found: found.update({"base_model.model.model.embed_tokens.weight": torch.zeros(52, 32)}),
        "2 more rows than the base's model.embed_tokens.weight, for tokens that were added in training: add them",
    ),
    "more tokens in a product": (
        lambda found: found.update(
            {
                "base_model.model.lm_head.lora_A.weight": torch.zeros(4, 32),
                "base_model.model.lm_head.lora_B.weight": torch.zeros(53, 4),
            }
        ),
        "3 more rows than the base's lm_head.weight, for tokens that were added in training: add them",
    ),
    "fewer tokens": (
        lambda found: found.update({"base_model.model.model.embed_tokens.weight": torch.zeros(48, 32)}),
        r"is \[48, 32\], the base's model.embed_tokens.weight \[50, 32\]: this adapter is for another base",
    ),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED_WEIGHTS.values(), ids=REFUSED_WEIGHTS)
def test_weights_that_do_not_fit_are_refused_from_their_headers(
    change: Callable[[dict[str, torch.Tensor]], None], reason: str, tmp_path: Path
) -> None:
    base = base_of("llama", tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    targets = ["q_proj", "lm_head"]
    with pytest.raises(MergingError, match=reason) as error:
        AdapterCheckpoint.open(Checkpoint.open(base), rewritten(folder, change, target_modules=targets))
    assert str(folder) in str(error.value)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    base = base_of("llama", tmp_path / "base")
    folder = adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    (folder / ADAPTER_WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(MergingError, match="pickled weights are not read"):
        AdapterCheckpoint.open(Checkpoint.open(base), folder)
