"""Random bf16 Llama checkpoints of about a given size, made on the spot: for speed the values need no sense."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig

_SPREAD = 0.02
"""Standard deviation of the siblings' common ancestor; each differs from it by a tenth of that."""

_SIZES = ((0.02e9, 4, 8), (0.1e9, 10, 12), (0.5e9, 20, 20), (1.1e9, 28, 22))
"""Parameters, about; heads of 64; layers."""


def random_llamas(folder: Path, parameters: float = 0.1e9, count: int = 3, seed: int = 0) -> list[Path]:
    """Write `count` sibling models to folder/model-0, …: the size of `_SIZES` that is nearest to `parameters`.

    Each is one file, as published models of these sizes are. The same arguments give the same bytes.
    """
    _, heads, layers = min(_SIZES, key=lambda size: abs(size[0] - parameters))
    config = _config(heads, layers)
    return [_write(folder / f"model-{number}", config, seed, number) for number in range(count)]


def _config(heads: int, layers: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=heads * 64,
        intermediate_size=heads * 64 * 14 // 5,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=32_000,
        dtype=torch.bfloat16,
        architectures=["LlamaForCausalLM"],
    )


def _write(folder: Path, config: LlamaConfig, seed: int, number: int) -> Path:
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    tensors = {
        name: _tensor(shape, (seed * 1_000 + place) * 100, number)
        for place, (name, shape) in enumerate(_shapes(config))
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def _shapes(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a Llama without biases and with a head of its own."""
    width, inner = config.hidden_size, config.intermediate_size
    matrices = {f"self_attn.{letter}_proj": (width, width) for letter in "qkvo"}
    matrices |= {"mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}
    yield "model.embed_tokens.weight", (config.vocab_size, width)
    for layer in range(config.num_hidden_layers):
        for name, shape in matrices.items():
            yield f"model.layers.{layer}.{name}.weight", shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{norm}.weight", (width,)
    yield "model.norm.weight", (width,)
    yield "lm_head.weight", (config.vocab_size, width)


def _tensor(shape: tuple[int, ...], seed: int, number: int) -> Tensor:
    """A sibling's tensor: the ancestor's random values and a little of its own."""
    common = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    own = torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1 + number))
    mean = float(len(shape) == 1)  # norms scale by about 1
    return common.mul_(_SPREAD).add_(own, alpha=_SPREAD / 10).add_(mean).bfloat16()
