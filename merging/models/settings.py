"""The settings of a config.json that decide which function a model computes with the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from merging.errors import MergingError
from merging.models.layer_config import load_config
from merging.models.transformers_cache import cached_on_disk

HARMLESS = frozenset(
    {
        # who wrote it, with what, and how it is stored
        "transformers_version",
        "dtype",
        "torch_dtype",
        "architectures",  # compared by itself
        # which tokens begin and end a text: an instruct model ends texts differently from its base
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "decoder_start_token_id",
        # training alone
        "initializer_range",
        "pretraining_tp",
        # what is returned, kept or cut up, not what is computed
        "use_cache",
        "return_dict",
        "output_hidden_states",
        "output_attentions",
        "chunk_size_feed_forward",
        # heads that a causal language model does not have
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        # Decides layer_types, which is compared, and nothing else.
        "max_window_layers",
    }
)
"""Keys in which a fine-tune may differ, besides those with the endings and beginnings below."""

_HARMLESS_ENDINGS = ("dropout", "_pdrop")
_HARMLESS_BEGINNINGS = ("_", "summary_")

_READ_UNDECLARED = {
    "head_dim": None,
    "is_causal": True,
    "sliding_window": None,
    "layer_types": None,
    "attention_chunk_size": None,
    "use_bidirectional_attention": None,
}
"""Keys that transformers' shared code reads from every config, even undeclared ones → their defaults."""

_LENGTH = "max_position_embeddings"
_KINDS = "layer_types"
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def read_settings(config: Mapping[str, object], layers: int) -> dict[str, object]:
    """Read the settings that decide what a model computes, in one spelling, with defaults for keys left out.

    layers: number of layers of the tensors. Settings within settings are named with a dot
    (`rope_parameters.rope_theta`). Keys that the architecture's config class does not declare are left out: its model
    does not read them.

    Raises:
        MergingError: transformers cannot read the config, or it has more layers than the tensors.
    """
    for key in _LAYERS:
        # A config class may make a list of this length, so a huge one is refused first.
        stated = config.get(key)
        if isinstance(stated, int) and stated > layers:
            raise MergingError(f"its config says {key} {stated}, its tensors have {layers}")
    _check_kinds(config, layers)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise MergingError("its config names no model_type")
    given = {key: value for key, value in config.items() if key != "model_type" and not _harmless(key)}
    read = _READ_UNDECLARED | _read_values({"model_type": kind, **given}, "its config")
    declared = _read_values({"model_type": kind}, "its config")
    found = {key: value for key, value in read.items() if key in declared or key in _READ_UNDECLARED}
    heads, width = read.get("num_attention_heads"), read.get("hidden_size")
    if found["head_dim"] is None and isinstance(heads, int) and isinstance(width, int) and heads > 0:
        found["head_dim"] = width // heads
    flat = dict(_flat(found))
    return {"model_type": kind, "architectures": config.get("architectures")} | {key: flat[key] for key in sorted(flat)}


def settings_mismatch(base: Mapping[str, object], other: Mapping[str, object]) -> str | None:
    """The first setting in which two models differ, with both values; None if they compute the same function.

    A longer context alone is not a difference where positions are encoded by a plain rotation, which does not depend on
    it.
    """
    rotations = [value for key, value in base.items() if key.endswith("rope_type")]
    plain = bool(rotations) and all(kind == "default" for kind in rotations)
    for key in dict.fromkeys((*base, *other)):
        if key == _LENGTH and plain:
            continue
        if base.get(key) != other.get(key):
            return f"its config says {key[:60]} {_short(other.get(key))}, not {_short(base.get(key))}"
    return None


def _check_kinds(config: Mapping[str, object], layers: int) -> None:
    """MergingError, with the key, if a list of layers' kinds has another length; transformers' own message is long."""
    said = next((config[key] for key in _LAYERS if isinstance(config.get(key), int)), layers)
    for key, value in config.items():
        if key.endswith(_KINDS) and isinstance(value, list) and len(value) != said:
            raise MergingError(f"its config says {key[:40]} for {len(value)} layers, and has {said}")


def _harmless(key: str) -> bool:
    return key in HARMLESS or key.endswith(_HARMLESS_ENDINGS) or key.startswith(_HARMLESS_BEGINNINGS)


@cached_on_disk(dict, dict)
def _read_values(config: Mapping[str, object], label: str) -> dict[str, object]:
    """Every setting of a config.json, with transformers' defaults for those that it leaves out."""
    found: dict[str, object] = load_config(config, label).to_dict()
    return found


def _flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        old_name = key == "type" and "rope_type" in values
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        elif not _harmless(str(key)) and not old_name:
            yield f"{above}{key}", list(value) if isinstance(value, tuple) else value


def _short(value: object) -> str:
    return repr(value)[:60]
