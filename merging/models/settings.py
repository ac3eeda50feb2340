"""The settings of a config.json that decide which function a model computes with the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from merging.errors import MergingError
from merging.models.layer_config import is_tied, language_keys, load_config, read_language_config
from merging.models.transformers_cache import cached_on_disk

HARMLESS = frozenset(
    {
        # Who wrote it, with what, and how it is stored. A kind of model is told by its architectures elsewhere; which
        # function it computes is the model_type's matter.
        "transformers_version",
        "dtype",
        "torch_dtype",
        "architectures",
        # Which tokens begin and end a text: an instruct model ends texts differently from its base.
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "decoder_start_token_id",
        # Training alone. Fine-tuners of mixtures turn the routers' loss on.
        "initializer_range",
        "init_std",
        "layerdrop",
        "pretraining_tp",
        "output_router_logits",
        "router_aux_loss_coef",
        # What is returned, kept or cut up, and by which code, not what is computed.
        "use_cache",
        "return_dict",
        "output_hidden_states",
        "output_attentions",
        "chunk_size_feed_forward",
        "use_mamba_kernels",
        "use_mambapy",
        "use_associative_scan",
        # Heads that a causal language model does not have.
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
    }
)
"""Keys in which a fine-tune may differ, besides those with the endings and beginnings below.

Not among them, though fine-tunes differ in it: `rms_norm_eps`. 1e-5 for 1e-6 changes what every layer computes, and a
source that is asked with another one's epsilon would no longer be the baseline that its name says.
"""

_DECIDING = frozenset({"max_window_layers", "use_sliding_window"})
"""Keys that decide others (sliding_window, layer_types), and nothing else: those are compared."""

_HARMLESS_ENDINGS = ("dropout", "dropout_prob", "_pdrop")
_HARMLESS_BEGINNINGS = ("_", "summary_")

NOTED = ("model_type", "max_position_embeddings", "eos_token_id")
"""Keys that are worth a word where they differ and the function does not: who uses the model meets their values."""

_SAME_ACTIVATIONS: Mapping[str, str] = {
    "swish": "silu",
    "gelu_python": "gelu",
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh"), "gelu_pytorch_tanh"),
}
"""Names of activations → another name of the same formula; only the order of its roundings may differ."""

_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function", "activation")

_SAME_MODELS: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "mistral": ("llama", {"attention_bias": False, "mlp_bias": False}),
        "qwen2_vl_text": ("qwen2", {}),
        "qwen2_5_vl_text": ("qwen2", {}),
        "qwen3_vl_text": ("qwen3", {}),
    }
)
"""model_type → (one that computes the same under the same settings, its settings that the first lacks)."""

_OF_PICTURES = ("mrope_section", "mrope_interleaved", "use_bidirectional_attention")
"""Endings of the keys that say how a language model treats pictures, and change nothing for text alone."""

_LENGTH_FREE = frozenset({"default", "linear", "llama3", "yarn"})
"""Rotations that depend on a token's position, and not on the length that a model is said to have."""

_READ_UNDECLARED = {
    "head_dim": None,
    "is_causal": True,
    "sliding_window": None,
    "layer_types": None,
    "attention_chunk_size": None,
    "use_bidirectional_attention": None,
}
"""Keys that transformers' shared code reads from every config, even undeclared ones → their defaults."""

LANGUAGE_KEY = "text_config."
"""Beginning of the keys of a language model's settings among those of a model that has it inside."""

_HEIGHT, _TIED = "vocab_size", "tie_word_embeddings"
_LENGTH, _END, _WINDOW = "max_position_embeddings", "eos_token_id", "sliding_window"
_KINDS = "layer_types"
_ROTATION = "rope_type"
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def read_settings(config: Mapping[str, object], layers: int) -> dict[str, object]:
    """Read the settings that decide what a model computes, in one spelling, with defaults for keys left out.

    layers: number of layers of the tensors. Settings within settings are named with a dot
    (`rope_parameters.rope_theta`). Keys that the architecture's config class does not declare are left out: its model
    does not read them.

    Raises:
        MergingError: transformers cannot read the config, or it has more layers than the tensors.
    """
    inside = config.get(LANGUAGE_KEY.removesuffix("."))
    for one in (config, inside) if isinstance(inside, Mapping) else (config,):
        _check_layers(one, layers)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise MergingError("its config names no model_type")
    language = read_language_config(config, "its config")
    if language is not None:
        return _read_with_language(config, language, layers)
    given = {key: value for key, value in config.items() if key != "model_type" and not _harmless(key)}
    read = _READ_UNDECLARED | _read_values({"model_type": kind, **given}, "its config")
    declared = _read_values({"model_type": kind}, "its config")
    found = {key: value for key, value in read.items() if key in declared or key in _READ_UNDECLARED}
    heads, width = read.get("num_attention_heads"), read.get("hidden_size")
    if found["head_dim"] is None and isinstance(heads, int) and isinstance(width, int) and heads > 0:
        found["head_dim"] = width // heads
    flat = dict(_flat(found))
    about = {"model_type": kind, "architectures": config.get("architectures"), _END: _end(config, declared)}
    return about | {key: flat[key] for key in sorted(flat)}


def _read_with_language(config: Mapping[str, object], language: Mapping[str, object], layers: int) -> dict[str, object]:
    """The settings of a model with a language model in it: that model's as `read_settings` has them, below its key."""
    inside = read_settings(language, layers)
    inside[_TIED] = is_tied(config)  # the whole model decides on it
    of_language = language_keys(config)
    values = {key: value for key, value in _read_values(config, "its config").items() if key not in of_language}
    about = {"model_type": config.get("model_type"), "architectures": config.get("architectures")}
    around = {key: value for key, value in sorted(_flat(values)) if key not in (*about, _END, _TIED)}
    return about | {_END: inside[_END]} | around | {f"{LANGUAGE_KEY}{key}": value for key, value in inside.items()}


def language_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings of a model's language model: all of them if it is a language model and nothing else.

    settings: as `read_settings` gives them.
    """
    inside = {key: value for key, value in settings.items() if key.startswith(LANGUAGE_KEY)}
    return {key.removeprefix(LANGUAGE_KEY): value for key, value in (inside or settings).items()}


def carrier_mismatch(carrier: Mapping[str, object], other: Mapping[str, object]) -> str | None:
    """The reason why a model's language model cannot be merged with the carrier's, by its key; None if it can.

    carrier, other: as `read_settings` gives them: of a vision-language model, and of another or of a language model.
    Of a language model, the number of tokens may differ, whose rows are matched by token, and it may tie its head.
    """
    if any(key.startswith(LANGUAGE_KEY) for key in other):
        return settings_mismatch(carrier, other)
    inside = {**language_settings(carrier), _HEIGHT: other.get(_HEIGHT)}
    if other.get(_TIED):
        inside[_TIED] = True  # its embeddings are a head, too
    alike = ({key: value for key, value in one.items() if not key.endswith(_OF_PICTURES)} for one in (inside, other))
    return settings_mismatch(*alike)


def settings_mismatch(base: Mapping[str, object], other: Mapping[str, object]) -> str | None:
    """The first setting in which two models differ, with both values; None if they compute the same function.

    base, other: as `read_settings` gives them. What is written differently and means the same is no difference.
    """
    one, two = (_meaning_of_parts(settings) for settings in (base, other))
    key = next((key for key in dict.fromkeys((*one, *two)) if one.get(key) != two.get(key)), None)
    return None if key is None else f"its config says {_difference(key, base, other)}"


def noted_differences(base: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """The differences of two models that compute the same function, as far as they are worth a word."""
    return [_difference(key, base, other) for key in NOTED if base.get(key) != other.get(key)]


def _difference(key: str, base: Mapping[str, object], other: Mapping[str, object]) -> str:
    return f"{key[:60]} {_short(other.get(key))}, not {_short(base.get(key))}"


def _meaning_of_parts(settings: Mapping[str, object]) -> dict[str, object]:
    """As `_meaning`, of a model's language model and of what is around it."""
    inside = _meaning(language_settings(settings))
    around = {key: value for key, value in settings.items() if not key.startswith(LANGUAGE_KEY)}
    if len(around) == len(settings):
        return inside
    return _meaning(around) | {f"{LANGUAGE_KEY}{key}": value for key, value in inside.items()}


def _meaning(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings in one spelling, without those that change nothing beside the others."""
    kind, added = _SAME_MODELS.get(str(settings.get("model_type")), (settings.get("model_type"), {}))
    compared = {key: value for key, value in settings.items() if not _harmless(key) and key not in _DECIDING}
    found = {**added, **compared, "model_type": kind}
    for key in _ACTIVATIONS:
        if key in found:
            found[key] = _SAME_ACTIVATIONS.get(str(found[key]), found[key])
    rotations = [key.removesuffix(_ROTATION) for key in found if key.endswith(_ROTATION)]
    for rotation in rotations:
        if found[rotation + _ROTATION] == "linear" and found.get(f"{rotation}factor") == 1:
            found |= {rotation + _ROTATION: "default", f"{rotation}factor": None}
    if rotations and all(_is_length_free(found, rotation) for rotation in rotations):
        found.pop(_LENGTH, None)
    kinds = found.get(_KINDS)
    if isinstance(kinds, list) and set(kinds) <= {"full_attention"}:
        found |= {_KINDS: None, _WINDOW: None}
    return found


def _is_length_free(settings: Mapping[str, object], rotation: str) -> bool:
    """rotation: beginning of its keys. YaRN without a factor of its own takes it from the model's length."""
    kind = settings[rotation + _ROTATION]
    return kind in _LENGTH_FREE and (kind != "yarn" or settings.get(f"{rotation}factor") is not None)


def _end(config: Mapping[str, object], declared: Mapping[str, object]) -> list[int]:
    """The ids of the tokens that end a text: one or several in config.json."""
    given = config.get(_END, declared.get(_END))
    ids = given if isinstance(given, list) else [given]
    return sorted({token for token in ids if isinstance(token, int)})


def _check_layers(config: Mapping[str, object], layers: int) -> None:
    """MergingError, with the key, for more layers than the tensors have, or a list of layers' kinds of another length.

    A config class may make a list of the first, and transformers' own message about the second is long.
    """
    for key in _LAYERS:
        stated = config.get(key)
        if isinstance(stated, int) and stated > layers:
            raise MergingError(f"its config says {key} {stated}, its tensors have {layers}")
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
        if _harmless(str(key)) or old_name:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", list(value) if isinstance(value, tuple) else value


def _short(value: object) -> str:
    return repr(value)[:60]
