"""Which settings of a config.json tell two models apart: decided by key, and shown on models with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from fixtures.engine import BY_LAYER
from fixtures.tiny_models import FAMILIES
from merging.errors import MergingError
from merging.models.settings import noted_differences, read_settings, settings_mismatch

LLAMA: dict[str, Any] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}
GEMMA2 = LLAMA | {"model_type": "gemma2"}
GRANITE = LLAMA | {"model_type": "granite"}
MISTRAL = LLAMA | {"model_type": "mistral"}
SIZES = {"intermediate_size": 14336, "num_key_value_heads": 8}
MIXTRAL = LLAMA | {"model_type": "mixtral"}
WINDOWED = LLAMA | {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}
DYNAMIC: dict[str, Any] = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}


@pytest.mark.parametrize(
    ("config", "change", "expected"),
    [
        (LLAMA, {"rms_norm_eps": 1e-5}, "rms_norm_eps 1e-05, not 1e-06"),
        (LLAMA, {"attention_bias": True}, "attention_bias True, not False"),
        (LLAMA, {"mlp_bias": True}, "mlp_bias True, not False"),
        (LLAMA, {"tie_word_embeddings": True}, "tie_word_embeddings True, not False"),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act 'gelu', not 'silu'"),
        (LLAMA, {"is_causal": False}, "is_causal False, not True"),
        (
            LLAMA,
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_parameters.rope_type 'linear', not 'default'",
        ),
        (LLAMA | DYNAMIC, {"max_position_embeddings": 9}, "max_position_embeddings 9, not 2048"),
        (MISTRAL, {"sliding_window": None}, "sliding_window None, not 4096"),
        (MISTRAL, SIZES | {"model_type": "llama"}, "sliding_window None, not 4096"),
        (
            WINDOWED,
            {"max_window_layers": 2},
            "layer_types ['full_attention', 'full_attention'], not ['full_attention', 's",
        ),
        (
            GEMMA2,
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types ['full_attention', 'sliding_attention'], not",
        ),
        (GEMMA2, {"attn_logit_softcapping": None}, "attn_logit_softcapping None, not 50.0"),
        (GEMMA2, {"final_logit_softcapping": 20.0}, "final_logit_softcapping 20.0, not 30.0"),
        (GEMMA2, {"query_pre_attn_scalar": 144}, "query_pre_attn_scalar 144, not 256"),
        (GRANITE, {"embedding_multiplier": 12.0}, "embedding_multiplier 12.0, not 1.0"),
        (GRANITE, {"residual_multiplier": 0.2}, "residual_multiplier 0.2, not 1.0"),
        (GRANITE, {"logits_scaling": 8.0}, "logits_scaling 8.0, not 1.0"),
        (GRANITE, {"attention_multiplier": 0.1}, "attention_multiplier 0.1, not 1.0"),
        (LLAMA, {"model_type": "qwen3"}, "model_type 'qwen3', not 'llama'"),
        (MIXTRAL, {"num_experts_per_tok": 1}, "num_experts_per_tok 1, not 2"),
        (MIXTRAL, {"router_jitter_noise": 0.1}, "router_jitter_noise 0.1, not 0.0"),
    ],
)
def test_what_changes_the_function_is_named_by_its_key(
    config: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    reason = settings_mismatch(read_settings(config, 2), read_settings(config | change, 2))
    assert reason is not None and reason.startswith(f"its config says {expected}")


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (LLAMA, {"torch_dtype": "bfloat16", "_name_or_path": "/home/x", "transformers_version": "4.30.0"}),
        (LLAMA, {"eos_token_id": [2, 7], "pad_token_id": 3, "use_cache": False, "attention_dropout": 0.1}),
        (LLAMA, {"max_position_embeddings": 10**5, "rope_theta": 10000.0, "rope_scaling": None}),
        (LLAMA, {"rms_norm_eps": 1e-6, "head_dim": None, "hidden_act": "silu", "num_key_value_heads": 32}),
        (LLAMA, {"unsloth_fixed": True, "transformers.js_config": {"dtype": "q4"}, "pretraining_tp": 2}),
        (LLAMA | {"model_type": "qwen2"}, {"head_dim": 128, "max_window_layers": 3, "sliding_window": 4096}),
        (
            LLAMA | {"rope_theta": 5, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_parameters": {"rope_theta": 5.0, "rope_type": "linear", "factor": 2}},
        ),
    ],
)
def test_spellings_of_one_config_and_what_computes_nothing_are_no_difference(
    config: dict[str, Any], change: dict[str, Any]
) -> None:
    assert settings_mismatch(read_settings(config, 2), read_settings(config | change, 2)) is None


def test_values_that_fit_no_model_are_refused_or_compared_without_a_crash() -> None:
    qwen: dict[str, Any] = LLAMA | {"model_type": "qwen2"}
    assert settings_mismatch(read_settings(qwen, 2), read_settings(qwen | {"num_attention_heads": 0}, 2))
    twice = LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 1.0, "a.b": 1, "a": {"b": "x"}}}
    assert settings_mismatch(read_settings(LLAMA, 2), read_settings(twice, 2))
    for wrong in ({"model_type": 7}, {"self": 1}, {"to_dict": 1}, {"rope_parameters": "x"}):
        with pytest.raises(
            MergingError, match=r"^(its config: transformers cannot read it \(|its config names no model_type)"
        ):
            read_settings(LLAMA | wrong, 2)


# -- the same weights under two configs: equal settings give equal logits, and unequal ones do not ---------------------

PROMPT = torch.arange(3, 43).reshape(2, 20)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1e4}
LLAMA3 = YARN | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SHORT, LONG = {"max_position_embeddings": 8}, {"max_position_embeddings": 640}
PLAIN = {"rope_type": "default"}
LINEAR: dict[str, Any] = {"rope_scaling": {"type": "linear", "factor": 2.0}}
ALL_FULL = {"layer_types": ["full_attention"] * 2}

SAME: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "length, plain rotation": ("llama", SHORT, LONG),
    "length, linear": ("llama", LINEAR | SHORT, LINEAR | LONG),
    "length, llama3": ("llama", {"rope_parameters": LLAMA3, **SHORT}, {"rope_parameters": LLAMA3, **LONG}),
    "length, yarn": ("llama", {"rope_parameters": YARN, **SHORT}, {"rope_parameters": YARN, **LONG}),
    "length, latent attention": ("deepseek-v2", {"rope_parameters": YARN, **SHORT}, {"rope_parameters": YARN, **LONG}),
    "length, mixture": ("mixtral", SHORT, LONG),
    "scaled by 1": ("llama", {"rope_scaling": {"type": "linear", "factor": 1.0}}, {}),
    "default said": ("llama", {"rope_scaling": {"type": "default"}}, {"rope_scaling": None}),
    "theta in two places": (
        "llama",
        {"rope_theta": 5e3},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e3}},
    ),
    "silu by another name": ("llama", {"hidden_act": "swish"}, {}),
    "gelu by another name": ("starcoder2", {"hidden_act": "gelu_new"}, {"hidden_act": "gelu_pytorch_tanh"}),
    "fast gelu": ("starcoder2", {"hidden_act": "gelu_fast"}, {"hidden_act": "gelu_accurate"}),
    "training": ("llama", {"attention_dropout": 0.5, "initializer_range": 1.0, "pretraining_tp": 2}, {}),
    "use": ("llama", {"use_cache": False, "eos_token_id": 7, "bos_token_id": 8, "pad_token_id": 9}, {}),
    "routers' loss": ("mixtral", {"output_router_logits": True, "router_aux_loss_coef": 0.5}, {}),
    "window of no layer": ("qwen2", {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": 4}, {}),
    "window that is off": ("qwen2-moe", {"use_sliding_window": False, "sliding_window": 4}, {}),
    **{
        f"window of no layer, {kind}": (kind, {**ALL_FULL, "sliding_window": 4}, {**ALL_FULL, "sliding_window": 64})
        for kind, (config_class, _) in FAMILIES.items()
        if config_class.model_type in BY_LAYER
    },
}
OTHER: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "length, dynamic": (
        "llama",
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}, **SHORT},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}, **LONG},
    ),
    "theta": ("llama", {"rope_theta": 5e3}, {}),
    "epsilon": ("llama", {"rms_norm_eps": 1e-5}, {"rms_norm_eps": 1e-6}),
    "gelu": ("starcoder2", {"hidden_act": "gelu_new"}, {"hidden_act": "gelu"}),
    "window": ("mistral", {"sliding_window": 4}, {"sliding_window": None}),
    "window of a layer": (
        "qwen2",
        {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 4},
        {"use_sliding_window": True, "max_window_layers": 2, "sliding_window": 4},
    ),
    "active experts": ("mixtral", {"num_experts_per_tok": 1}, {"num_experts_per_tok": 2}),
    "shares of experts": ("qwen3-moe", {"norm_topk_prob": True}, {"norm_topk_prob": False}),
}


def model(kind: str, change: Mapping[str, Any]) -> Any:
    config_class, values = FAMILIES[kind]
    return transformers.AutoModelForCausalLM.from_config(config_class(**{**values, "num_hidden_layers": 2, **change}))


def logits_of_both(one: Any, two: Any) -> tuple[Tensor, Tensor]:
    """Of the same weights, the first model's, as both compute them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in one.parameters():
            weight += 0.1 * torch.randn(weight.shape)
        two.load_state_dict(one.state_dict())
        return one.eval()(PROMPT).logits, two.eval()(PROMPT).logits


def mismatch(kind: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> str | None:
    config_class, values = FAMILIES[kind]
    about = {**values, "model_type": config_class.model_type, "num_hidden_layers": 2}
    return settings_mismatch(read_settings({**about, **one}, 2), read_settings({**about, **two}, 2))


@pytest.mark.parametrize("case", SAME)
def test_configs_that_count_as_one_give_the_same_logits(case: str) -> None:
    kind, one, two = SAME[case]
    assert mismatch(kind, one, two) is mismatch(kind, two, one) is None
    torch.testing.assert_close(*logits_of_both(model(kind, one), model(kind, two)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("case", OTHER)
def test_configs_that_do_not_count_as_one_give_other_logits(case: str) -> None:
    kind, one, two = OTHER[case]
    assert mismatch(kind, one, two) is not None
    first, second = logits_of_both(model(kind, one), model(kind, two))
    assert float((first - second).abs().max()) > 1e-4


def test_mistral_without_a_window_is_llama_by_another_name() -> None:
    values = {key: value for key, value in FAMILIES["llama"][1].items() if key != "tie_word_embeddings"}
    about: dict[str, Any] = {**values, "num_hidden_layers": 2, "rope_theta": 1e4, "rms_norm_eps": 1e-5}
    mistral = {**about, "model_type": "mistral", "sliding_window": None}
    llama = {**about, "model_type": "llama"}
    one, two = (transformers.AutoConfig.for_model(**config) for config in (mistral, llama))
    first, second = logits_of_both(*map(transformers.AutoModelForCausalLM.from_config, (one, two)))
    torch.testing.assert_close(first, second, rtol=0, atol=2e-6)
    settings = [read_settings(config, 2) for config in (mistral, llama)]
    assert settings_mismatch(*settings) is settings_mismatch(*reversed(settings)) is None
    assert noted_differences(*settings)[0] == "model_type 'llama', not 'mistral'"
    biased = read_settings(llama | {"attention_bias": True}, 2)
    assert settings_mismatch(settings[0], biased) == "its config says attention_bias True, not None"


def test_what_a_user_meets_is_noted_though_it_changes_nothing() -> None:
    base = read_settings(LLAMA | {"max_position_embeddings": 4096, "eos_token_id": 2}, 2)
    chat = read_settings(LLAMA | {"max_position_embeddings": 32768, "eos_token_id": [7, 2], "use_cache": False}, 2)
    assert settings_mismatch(base, chat) is None
    assert noted_differences(base, chat) == ["max_position_embeddings 32768, not 4096", "eos_token_id [2, 7], not [2]"]
    assert noted_differences(base, read_settings(LLAMA | {"max_position_embeddings": 4096}, 2)) == []
    assert noted_differences(chat, chat) == []


# -- configs as they were published, cut to two layers ---------------------------------------------------------------

_LLAMA_3 = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "bos_token_id": 128000,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "num_attention_heads": 32,
    "num_hidden_layers": 2,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "vocab_size": 128256,
}
LLAMA_3_BASE = _LLAMA_3 | {"eos_token_id": 128001, "transformers_version": "4.36.2", "torch_dtype": "bfloat16"}
LLAMA_3_CHAT = _LLAMA_3 | {
    **{"eos_token_id": 128009, "transformers_version": "4.45.2", "head_dim": 128},
    **{"attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False, "use_cache": True},
}
_QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN_BASE = _QWEN | {
    **{"eos_token_id": 151643, "max_position_embeddings": 131072, "sliding_window": 131072},
    **{"rope_theta": 1000000.0, "use_mrope": False},
}
QWEN_CHAT = _QWEN | {
    **{"eos_token_id": 151645, "max_position_embeddings": 32768, "sliding_window": None},
    **{"rope_theta": 1000000.0, "rope_scaling": None},
}
QWEN_MATH = _QWEN | {
    **{"eos_token_id": 151643, "max_position_embeddings": 4096, "sliding_window": 4096, "rope_theta": 10000},
}
REASONER = QWEN_MATH | {"max_position_embeddings": 131072, "bos_token_id": 151646, "use_mrope": False}


@pytest.mark.parametrize(
    ("base", "other", "notes"),
    [
        (LLAMA_3_BASE, LLAMA_3_CHAT, ["eos_token_id [128009], not [128001]"]),
        (
            QWEN_BASE,
            QWEN_CHAT,
            ["max_position_embeddings 32768, not 131072", "eos_token_id [151645], not [151643]"],
        ),
        (QWEN_MATH, REASONER, ["max_position_embeddings 131072, not 4096"]),
    ],
    ids=["llama 3", "qwen 2.5", "qwen 2.5 math and a reasoner"],
)
def test_published_fine_tunes_are_of_one_family_with_their_bases(
    base: dict[str, Any], other: dict[str, Any], notes: list[str]
) -> None:
    settings = [read_settings(config, 2) for config in (base, other)]
    assert settings_mismatch(*settings) is None and noted_differences(*settings) == notes


def test_published_models_with_another_rotary_base_are_of_another_family() -> None:
    reason = settings_mismatch(read_settings(QWEN_BASE, 2), read_settings(QWEN_MATH, 2))
    assert reason == "its config says rope_parameters.rope_theta 10000, not 1000000.0"
