"""Tiny random models of real architectures, written as a person would: with save_pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from merging.checkpoint import Checkpoint
from merging.recipe import METHODS, Groups, Recipe, SourceRef

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

CONFIGS: Mapping[str, tuple[type[transformers.PretrainedConfig], dict[str, Any]]] = {
    "llama": (transformers.LlamaConfig, {**_LLAMA_LIKE, "tie_word_embeddings": False}),
    "llama-tied": (transformers.LlamaConfig, {**_LLAMA_LIKE, "tie_word_embeddings": True}),
    "qwen2": (transformers.Qwen2Config, _LLAMA_LIKE),
    "qwen3": (transformers.Qwen3Config, _LLAMA_LIKE),
    "mistral": (transformers.MistralConfig, _LLAMA_LIKE),
    "gemma2": (transformers.Gemma2Config, _LLAMA_LIKE),
    "gpt2": (transformers.GPT2Config, _GPT2),
}


def tiny_model(kind: str, *, seed: int, layers: int = 2) -> Any:
    """A model whose every weight, norms and biases too, is random; seeds are siblings, not strangers."""
    config_class, values = CONFIGS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config_class(num_hidden_layers=layers, **values))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model.eval()


def pool(
    folder: Path, kind: str, *, sources: int = 3, layers: int = 2, dtype: torch.dtype = torch.float32
) -> dict[SourceRef, Checkpoint]:
    """Some sibling models as opened checkpoints, the first of them fit to be a base."""
    checkpoints = {}
    for seed in range(sources):
        target = folder / f"model-{seed}"
        tiny_model(kind, seed=seed, layers=layers).to(dtype).save_pretrained(target)
        checkpoints[SourceRef(f"tiny/{target.name}", f"{seed:040x}")] = Checkpoint.open(target)
    return checkpoints


def recipe_of(
    method: str, origins: list[SourceRef], groups: Groups, *, dtype: str = "float32", seed: int = 7
) -> Recipe:
    """A recipe with another value in every gene; the first origin is the base where one is needed."""
    rule = METHODS[method]
    base, sources = (origins[0], origins[1:]) if rule.needs_base else (None, origins)
    sources = sources[: rule.max_sources]
    width = len(groups.labels)
    rows = {
        "weight": tuple(tuple(0.9 - 0.25 * row + 0.05 * group for group in range(width)) for row in range(4)),
        "density": tuple(tuple(0.4 + 0.2 * row + 0.03 * group for group in range(width)) for row in range(4)),
        "t": (tuple(0.3 + 0.06 * group for group in range(width)),),
    }
    parameters = tuple(
        (name, rows[name][: len(sources) if by_source else 1]) for name, by_source in rule.parameters.items()
    )
    return Recipe(method, tuple(sources), base, groups, parameters, dtype, seed)
