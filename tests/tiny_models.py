"""Tiny random models of real architectures, written as a person would: with save_pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from merging.recipes.weight_merge import METHODS, ModelId, Partition, WeightMerge
from merging.sources.checkpoint import Checkpoint

_LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT2 = {"n_embd": 32, "n_head": 4, "vocab_size": 50, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2}
_SHORT_NAMED: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_STATES: dict[str, Any] = {"hidden_size": 32, "vocab_size": 50, "state_size": 8, "bos_token_id": 1, "eos_token_id": 2}
_EXPERTS: dict[str, Any] = {**_LLAMA_LIKE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_LATENT: dict[str, Any] = {
    **{key: value for key, value in _LLAMA_LIKE.items() if key != "head_dim"},
    "num_key_value_heads": 4,
    "moe_intermediate_size": 24,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}

# Granite's own numbers, far from 1: a layer's output is multiplied before it is added.
_MULTIPLIED: dict[str, Any] = {
    **_LLAMA_LIKE,
    "residual_multiplier": 0.22,
    "embedding_multiplier": 12.0,
    "logits_scaling": 8.0,
    "attention_multiplier": 0.1,
}

Kinds = Mapping[str, tuple[type[transformers.PretrainedConfig], dict[str, Any]]]

CONFIGS: Kinds = {
    "llama": (transformers.LlamaConfig, {**_LLAMA_LIKE, "tie_word_embeddings": False}),
    "llama-tied": (transformers.LlamaConfig, {**_LLAMA_LIKE, "tie_word_embeddings": True}),
    "qwen2": (transformers.Qwen2Config, _LLAMA_LIKE),
    "qwen3": (transformers.Qwen3Config, _LLAMA_LIKE),
    "mistral": (transformers.MistralConfig, _LLAMA_LIKE),
    "gemma2": (transformers.Gemma2Config, _LLAMA_LIKE),
    "gpt2": (transformers.GPT2Config, _GPT2),
}

FAMILIES: Kinds = {
    **CONFIGS,
    "granite": (transformers.GraniteConfig, _MULTIPLIED),
    "gemma3": (transformers.Gemma3TextConfig, _LLAMA_LIKE),
    "phi3": (transformers.Phi3Config, _LLAMA_LIKE),
    "olmo": (transformers.OlmoConfig, _LLAMA_LIKE),
    "olmo2": (transformers.Olmo2Config, _LLAMA_LIKE),
    "olmo3": (transformers.Olmo3Config, {**_LLAMA_LIKE, "sliding_window": 8}),
    "gemma": (transformers.GemmaConfig, _LLAMA_LIKE),
    "starcoder2": (transformers.Starcoder2Config, _LLAMA_LIKE),
    "smollm3": (transformers.SmolLM3Config, _LLAMA_LIKE),
    "stablelm": (transformers.StableLmConfig, _LLAMA_LIKE),
    "cohere": (transformers.CohereConfig, _LLAMA_LIKE),
    "cohere2": (transformers.Cohere2Config, {**_LLAMA_LIKE, "sliding_window": 8}),
    "gpt-neox": (transformers.GPTNeoXConfig, {**_SHORT_NAMED, "intermediate_size": 48}),
    "falcon": (transformers.FalconConfig, _SHORT_NAMED),
    "bloom": (transformers.BloomConfig, {"hidden_size": 32, "n_head": 4, "vocab_size": 50}),
    "mixtral": (transformers.MixtralConfig, {**_LLAMA_LIKE, "num_local_experts": 4}),
    "qwen3-moe": (transformers.Qwen3MoeConfig, _EXPERTS),
    "granite-moe": (transformers.GraniteMoeConfig, {**_MULTIPLIED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek-v3": (transformers.DeepseekV3Config, _LATENT),
    "mamba": (transformers.MambaConfig, _STATES),
    "mamba2": (transformers.Mamba2Config, {**_STATES, "num_heads": 8, "head_dim": 8, "n_groups": 1}),
    "arcee": (transformers.ArceeConfig, _LLAMA_LIKE),
    "ernie": (transformers.Ernie4_5Config, _LLAMA_LIKE),
    "exaone4": (transformers.Exaone4Config, {**_LLAMA_LIKE, "sliding_window": 8}),
    "glm": (transformers.GlmConfig, _LLAMA_LIKE),
    "glm4": (transformers.Glm4Config, _LLAMA_LIKE),
    "helium": (transformers.HeliumConfig, _LLAMA_LIKE),
    "ministral": (transformers.MinistralConfig, {**_LLAMA_LIKE, "sliding_window": 8}),
    "nemotron": (transformers.NemotronConfig, _LLAMA_LIKE),
    "olmoe": (transformers.OlmoeConfig, _EXPERTS),
    "phi": (transformers.PhiConfig, _LLAMA_LIKE),
    "qwen2-moe": (transformers.Qwen2MoeConfig, {**_EXPERTS, "shared_expert_intermediate_size": 24}),
    "seed-oss": (transformers.SeedOssConfig, _LLAMA_LIKE),
}
"""Every architecture that a test has merged, written and loaded again."""

_VARIANTS: Kinds = {
    "llama, biases": (transformers.LlamaConfig, {**_LLAMA_LIKE, "attention_bias": True, "mlp_bias": True}),
    "olmo2, biases": (transformers.Olmo2Config, {**_LLAMA_LIKE, "attention_bias": True}),
    "falcon, new": (
        transformers.FalconConfig,
        {**_SHORT_NAMED, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
    ),
    "falcon, sequential": (transformers.FalconConfig, {**_SHORT_NAMED, "parallel_attn": False, "bias": True}),
    "stablelm, parallel": (
        transformers.StableLmConfig,
        {**_LLAMA_LIKE, "use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True},
    ),
    "cohere, query norms": (transformers.CohereConfig, {**_LLAMA_LIKE, "use_qk_norm": True, "attention_bias": True}),
    "mamba, biases": (transformers.MambaConfig, {**_STATES, "use_bias": True}),
    "gpt-neox, sequential": (
        transformers.GPTNeoXConfig,
        {**_SHORT_NAMED, "intermediate_size": 48, "use_parallel_residual": False},
    ),
    "deepseek-v3": (transformers.DeepseekV3Config, {**_LATENT, "first_k_dense_replace": 0}),
}

ON_PATHS: Kinds = {**FAMILIES, **_VARIANTS}
"""The same with other settings that a path's rules are to hold for; here the layers of one model are of one make."""


def tiny_model(kind: str, *, seed: int, layers: int = 2, kinds: Kinds = FAMILIES) -> Any:
    """A model whose every weight, norms and biases too, is random; seeds are siblings, not strangers."""
    config_class, values = kinds[kind]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config_class(num_hidden_layers=layers, **values))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model.eval()


def pool(
    folder: Path,
    kind: str,
    *,
    sources: int = 3,
    layers: int = 2,
    dtype: torch.dtype = torch.float32,
    kinds: Kinds = FAMILIES,
) -> dict[ModelId, Checkpoint]:
    """Some sibling models as opened checkpoints, the first of them fit to be a base."""
    checkpoints = {}
    for seed in range(sources):
        target = folder / f"model-{seed}"
        tiny_model(kind, seed=seed, layers=layers, kinds=kinds).to(dtype).save_pretrained(target)
        checkpoints[ModelId(f"tiny/{target.name}", f"{seed:040x}")] = Checkpoint.open(target)
    return checkpoints


def recipe_of(
    method: str, origins: list[ModelId], groups: Partition, *, dtype: str = "float32", seed: int = 7
) -> WeightMerge:
    """A recipe with another value in every gene; the first origin is the base where one is needed."""
    rule = METHODS[method]
    base, sources = (origins[0], origins[1:]) if rule.needs_base else (None, origins)
    sources = sources[: rule.max_sources]
    width = len(groups.labels)
    numbers = {
        "weight": (0.9, -0.25, 0.05),
        "density": (0.4, 0.2, 0.03),
        "gamma": (0.1, 0.02, 0.01),
        "epsilon": (0.02, 0.0, 0.001),
        "t": (0.3, 0.0, 0.06),
        "select_topk": (0.3, 0.0, 0.05),
        "r": (0.5, 0.0, 0.05),
        "alpha": (0.4, 0.0, 0.05),
        "scale": (0.7, 0.0, 0.05),
    }
    parameters = []
    for name, parameter in rule.parameters.items():
        if name in numbers:
            first, by_source, by_group = numbers[name]
            heights = range(len(sources) if parameter.per_source else 1)
            rows = tuple(tuple(first + by_source * row + by_group * group for group in range(width)) for row in heights)
            parameters.append((name, rows))
        elif parameter.searched_as is not None:
            parameters.append((name, ((parameter.searched_as,) * width,)))
    return WeightMerge(method, tuple(sources), base, groups, tuple(parameters), dtype, seed)
