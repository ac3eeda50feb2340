"""Decides which models and requests the engine can answer; lm-eval's own code answers all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evaluation.engine.pictures.tower import picture_refusal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from evaluation.engine.pictures.processing import PictureEncoder

FAMILIES = frozenset(
    {
        "arcee",
        "cohere",
        "cohere2",
        "deepseek_v2",
        "deepseek_v3",
        "ernie4_5",
        "exaone4",
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "glm4",
        "gpt2",
        "gpt_neox",
        "gpt_oss",
        "granite",
        "granitemoe",
        "helium",
        "llama",
        "ministral",
        "mistral",
        "mixtral",
        "nemotron",
        "olmo",
        "olmo2",
        "olmo3",
        "olmoe",
        "phi",
        "phi3",
        "phimoe",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder2",
    }
)
"""Model types whose forward takes masks, positions and a cache as the engine gives them (all are tested).

Left out, among others: recurrent and hybrid models, ALiBi and relative positions, encoder-decoders, attention in
chunks or with layers that share a cache.
"""

LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})

STATIC_ROPE = frozenset({"default", "linear", "llama3", "yarn", "proportional"})
"""Rotary embeddings that depend on a token's position alone, not on the length of the longest sequence in its batch."""

GREEDY_KEYS = frozenset(
    {
        "bos_token_id",
        "cache_implementation",
        "do_sample",
        "eos_token_id",
        "epsilon_cutoff",
        "eta_cutoff",
        "max_length",
        "max_new_tokens",
        "min_p",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "temperature",
        "top_h",
        "top_k",
        "top_p",
        "transformers_version",
        "typical_p",
        "use_cache",
        "_from_model_config",
    }
)
"""Settings of a generation config that do not change greedy search, except for where an answer ends."""


def engine_refusal(model: PreTrainedModel, encoder: PictureEncoder | None = None) -> str | None:
    """The reason why the engine cannot answer for a transformers model; None if it can.

    encoder: of texts with pictures, for a model that sees them. What counts is the family of its language model, and
    what else that is given beside tokens.
    """
    config = model.config.get_text_config()
    if (config is not model.config) != (encoder is not None) or config.model_type not in FAMILIES:
        return f"model type {model.config.model_type}"
    if odd := set(getattr(config, "layer_types", None) or ()) - LAYER_TYPES:
        return f"layer types {', '.join(sorted(odd))}"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"attention implementation {config._attn_implementation}"
    if odd := _rope_types(getattr(config, "rope_parameters", None)) - STATIC_ROPE:
        return f"rope type {', '.join(sorted(odd))}"
    if getattr(config, "use_bidirectional_attention", None):
        return "bidirectional attention"
    return _refusal_of_pictures(model, encoder) if encoder else None


def _refusal_of_pictures(model: PreTrainedModel, encoder: PictureEncoder) -> str | None:
    try:
        return picture_refusal(model, encoder.probe(), encoder.image_token)
    except Exception as error:  # whatever a family's code raises: it will again where the slow way can say with what
        return f"a picture that fails: {error}"


def generation_refusal(model: PreTrainedModel) -> str | None:
    """The reason why greedy generation takes more than the likeliest token at each step; None if it does not."""
    odd = set(model.generation_config.to_diff_dict()) - GREEDY_KEYS
    return f"its generation config sets {', '.join(sorted(odd))}" if odd else None


def is_greedy(options: Mapping[str, object]) -> bool:
    """Whether generation options, normalised by lm-eval, ask for plain greedy search."""
    rest = set(options) - {"until", "max_gen_toks", "do_sample", "temperature"}
    return not rest and not options.get("do_sample") and not options.get("temperature")


def _rope_types(parameters: object) -> set[str]:
    if not isinstance(parameters, Mapping):
        return set()
    nested = [_rope_types(value) for value in parameters.values() if isinstance(value, Mapping)]
    own = {str(parameters["rope_type"])} if "rope_type" in parameters else set()
    return own.union(*nested)
