"""The scales of a path, folded into the weights of its layers, family by family.

A path multiplies the residual stream by w₁, w₂, … before its hops (Akiba et al. 2024, arXiv 2403.13187). Let h be that
stream, Sₖ = w₁·…·wₖ and g = h / Sₖ. A layer that normalises what it reads, h ← h + f(norm(h)), becomes
g ← g + f(norm(g)) / Sₖ, because norm(Sₖ g) = norm(g) for Sₖ > 0: it is enough to divide by Sₖ what the layer writes.
The final norm removes the last factor. This is exact up to the norms' epsilon, which meets g in place of h.
A layer that reads the raw stream and normalises what it writes, h ← h + norm(f(h)), needs its input projections
multiplied by Sₖ as well, so that they see h again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from merging.errors import MergingError
from merging.models.traits import BY_NUMBER
from merging.tensor_names import parse_name


class Fold(Enum):
    """The change of a tensor x of a hop with stream scale S."""

    DIVIDE = "x / S"
    MULTIPLY = "x · S"
    DIVIDE_AROUND_ONE = "(1 + x) / S - 1"  # norms that multiply by 1 + x


@dataclass(frozen=True)
class FoldingRule:
    """The tensors of a layer that carry the scale.

    parts: text in a tensor's name → its change, for weight and bias alike; written like mergekit's filters.
    without: settings that must be off (or absent) for the rule to hold.
    """

    parts: Mapping[str, Fold]
    without: tuple[str, ...] = ()

    def of(self, tensor_name: str) -> Fold | None:
        """The change of a tensor; None if the scale does not touch it."""
        if parse_name(tensor_name).layer is None:
            return None
        return next((fold for part, fold in self.parts.items() if part in f"{tensor_name}."), None)

    @property
    def by_factor(self) -> bool:
        """Whether every change is a factor: mergekit can express nothing else."""
        return Fold.DIVIDE_AROUND_ONE not in self.parts.values()


def _dividing(*parts: str, without: tuple[str, ...] = ()) -> FoldingRule:
    return FoldingRule(MappingProxyType(dict.fromkeys(parts, Fold.DIVIDE)), without)


_POST_NORMS = (".post_attention_layernorm.", ".post_feedforward_layernorm.")
_LLAMA = _dividing(".o_proj.", ".down_proj.")
_RAW_READERS = FoldingRule(
    MappingProxyType(
        {
            **dict.fromkeys(_POST_NORMS, Fold.DIVIDE),
            **dict.fromkeys((".q_proj.weight.", ".k_proj.weight.", ".v_proj.weight."), Fold.MULTIPLY),
            **dict.fromkeys((".gate_proj.weight.", ".up_proj.weight."), Fold.MULTIPLY),
        }
    )
)
_OLD_RESIDUALS = ("apply_residual_connection_post_layernorm",)

RULES: Mapping[str, FoldingRule] = MappingProxyType(
    {
        **dict.fromkeys(("arcee", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "gemma"), _LLAMA),
        **dict.fromkeys(
            ("glm", "granite", "helium", "llama", "ministral", "mistral", "nemotron", "olmo", "olmoe", "phi3"), _LLAMA
        ),
        **dict.fromkeys(("qwen2_vl_text", "qwen2_5_vl_text"), _LLAMA),
        **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm"), _LLAMA),
        **dict.fromkeys(
            ("gemma2", "gemma3_text"), FoldingRule(MappingProxyType(dict.fromkeys(_POST_NORMS, Fold.DIVIDE_AROUND_ONE)))
        ),
        **dict.fromkeys(("exaone4", "olmo2", "olmo3"), _RAW_READERS),
        **dict.fromkeys(
            ("bloom", "falcon"), _dividing(".self_attention.dense.", ".dense_4h_to_h.", without=_OLD_RESIDUALS)
        ),
        "glm4": _dividing(".post_self_attn_layernorm.", ".post_mlp_layernorm."),
        "gpt2": _dividing(".attn.c_proj.", ".mlp.c_proj.", without=("scale_attn_by_inverse_layer_idx",)),
        "gpt_neox": _dividing(".attention.dense.", ".dense_4h_to_h."),
        # The experts' second name is that in files.
        "granitemoe": _dividing(".o_proj.", ".down_proj.", ".output_linear."),
        "mamba": _dividing(".out_proj."),
        "mamba2": _dividing(".out_proj."),
        "phi": _dividing(".self_attn.dense.", ".mlp.fc2."),
        "gpt_oss": _dividing(".o_proj.", ".down_proj.", ".down_proj_bias."),
        **dict.fromkeys(("mixtral", "phimoe"), _dividing(".o_proj.", ".down_proj.", ".w2.")),
        "starcoder2": _dividing(".o_proj.", ".mlp.c_proj."),
    }
)
"""The rule of each model_type. A family is listed if its rule was tested against scaling hooks in float64."""


def folding_rule(config: Mapping[str, Any], label: str) -> FoldingRule:
    """Look up a family's rule.

    config: of a language model, the content of config.json. label: the model's name in errors. MergingError for a
    family without a rule, and for a setting under which its rule does not hold.
    """
    kind = str(config.get("model_type"))
    if kind in BY_NUMBER:
        why = f"its layers cannot be put anywhere on a path: {BY_NUMBER[kind]}"
        raise MergingError(f"{label}: model_type is {kind!r}: {why}; write search.space: parameter")
    if kind not in RULES:
        known = ", ".join(sorted(RULES))
        raise MergingError(
            f"{label}: model_type is {kind!r}: no way is known to fold a path's scales into such a model; "
            f"write search.space: parameter, or use models of {known}"
        )
    for key in RULES[kind].without:
        if config.get(key):
            raise MergingError(f"{label}: {key} is {config[key]!r}: a path's scales cannot be folded into such a model")
    return RULES[kind]


@torch.no_grad()
def fold_scale(tensor: Tensor, fold: Fold | None, stream: float) -> Tensor:
    """Fold a hop's stream scale S into one of its tensors, in the tensor's dtype.

    stream: S, above 0. A tensor that the scale does not touch is returned itself, not a copy. The arithmetic is done
    in float32 at least, and rounded once.
    """
    if fold is None or stream == 1:
        return tensor
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    if fold is Fold.DIVIDE_AROUND_ONE:
        return ((wide + 1) * fold_factor(Fold.DIVIDE, stream) - 1).to(tensor.dtype)
    return (wide * fold_factor(fold, stream)).to(tensor.dtype)


def fold_factor(fold: Fold, stream: float) -> float:
    """The factor of a fold that multiplies or divides."""
    return stream if fold is Fold.MULTIPLY else 1 / stream
