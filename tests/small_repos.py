"""Model repos of a few kilobytes for tests that need the Hub and no network: valid files, random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

HIDDEN, WORDS = 8, 12


def weights(seed: int, *, layers: int = 2, hidden: int = HIDDEN, words: int = WORDS) -> dict[str, np.ndarray]:
    """The tensors of a tiny Llama, drawn from `seed`."""
    draw = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (words, hidden), "lm_head.weight": (words, hidden)}
    shapes["model.norm.weight"] = (hidden,)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        for name in "qkvo":
            shapes[f"{at}.self_attn.{name}_proj.weight"] = (hidden, hidden)
        shapes[f"{at}.mlp.up_proj.weight"] = (2 * hidden, hidden)
        shapes[f"{at}.input_layernorm.weight"] = (hidden,)
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def special(token: int, content: str) -> dict[str, Any]:
    """A special token of a tokenizer.json."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": content, **plain, "special": True}


def tokenizer(words: int = WORDS, *, first: str = "a") -> dict[str, Any]:
    """A word-level tokenizer.json whose words start with `first`."""
    vocabulary = {f"{first}{index}": index for index in range(words)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": f"{first}0"},
    }


CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * HIDDEN,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": WORDS,
    "rope_theta": 1000.0,
}
DEEPER: Mapping[str, Any] = {**CONFIG, "num_hidden_layers": 3}


def card(*, licence: str | None = "apache-2.0", base: str | None = None, tags: tuple[str, ...] = ("fish",)) -> str:
    """A model card with front matter."""
    lines = [f"tags: [{', '.join(tags)}]", "library_name: transformers", "pipeline_tag: text-generation"]
    lines += [f"license: {licence}"] if licence else []
    lines += [f"base_model: {base}"] if base else []
    return "---\n" + "\n".join(lines) + "\n---\n# A model\n"


def files(
    seed: int,
    *,
    tensors: Mapping[str, np.ndarray] | None = None,
    config: Mapping[str, Any] = CONFIG,
    words: Mapping[str, Any] | None = None,
    **of_card: Any,
) -> dict[str, bytes]:
    """All files of a repo."""
    return {
        "README.md": card(**of_card).encode(),
        "config.json": json.dumps(dict(config)).encode(),
        "tokenizer.json": json.dumps(dict(words or tokenizer())).encode(),
        "model.safetensors": save(dict(weights(seed) if tensors is None else tensors)),
    }
