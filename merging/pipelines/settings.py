"""Decides from two pipelines' configs whether their denoisers can be merged, and names the key that forbids it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from merging.pipelines.diffusers_classes import class_defaults
from merging.pipelines.index import COMPONENTS_KEY, denoiser_folder, listed_components

PREDICTION = "prediction_type"
"""The key by which a scheduler says what the denoiser predicts."""

_FREE = frozenset({"_class_name", "_diffusers_version", "_name_or_path", "sample_size", "upcast_attention"})
"""Keys of a denoiser that change no weight's meaning: the carrier's are kept. `_class_name` is compared by itself."""

_LATENTS = ("latent_channels", "scaling_factor", "shift_factor", "latents_mean", "latents_std")
"""Keys of a VAE that say what latents are; its own weights may differ, for the carrier's are kept."""

_WIDTHS = ("hidden_size", "d_model", "projection_dim")
"""Keys of a text encoder that say how wide the encoded prompts are."""

_DEFAULTS: Mapping[str, object] = {PREDICTION: "epsilon", "scaling_factor": 0.18215}
"""What diffusers takes where a config does not say it."""


def pipeline_mismatch(carrier: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """The reason why a pipeline's denoiser cannot be merged with the carrier's, in a few words; None if it can.

    carrier, config: as `read_model_config` gives them, both of pipelines that are not refused by themselves. Compared
    are what the denoiser is, the latents that it works on, what it predicts, and how wide its prompts are.
    """
    reasons = (
        *_differing("_class_name", carrier, config, "its pipeline"),
        *_denoiser_reasons(carrier, config),
        *_latent_reasons(carrier, config),
        *_prediction_reasons(carrier, config),
        *_text_reasons(carrier, config),
    )
    return next(iter(reasons), None)


def text_encoder_mismatch(carrier: Mapping[str, Any], config: Mapping[str, Any], folder: str) -> str | None:
    """The reason why a text encoder cannot be merged with the carrier's: another class, or another size.

    folder: of the text encoder. One that is taken whole needs the same width alone.
    """
    if folder not in listed_components(config):
        return f"it lacks the component {folder}"
    own, other = _of(carrier, folder), _of(config, folder)
    sizes = sorted(key for key in own.keys() | other.keys() if key.endswith(("_size", "_layers", "_heads", "_model")))
    classes = [listed_components(one)[folder][1] for one in (carrier, config)]
    if classes[0] != classes[1]:
        return f"its {folder} is {classes[1]}, not {classes[0]}"
    return next(iter(_differing_keys(sizes, own, other, folder)), None)


def part_mismatch(carrier: Mapping[str, Any], config: Mapping[str, Any], folder: str, *, merged: bool) -> str | None:
    """The reason why a pipeline cannot give the carrier a component besides the denoiser; None if it can.

    merged: whether it is merged with the carrier's; one that is taken whole may be of another size inside.
    """
    if folder not in listed_components(config):
        return f"it lacks the component {folder}"
    if folder == "vae":
        return next(iter(_latent_reasons(carrier, config)), None)
    if merged:
        return text_encoder_mismatch(carrier, config, folder)
    return next(iter(_differing_keys(_WIDTHS, _of(carrier, folder), _of(config, folder), folder)), None)


def _denoiser_reasons(carrier: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[str]:
    folder = denoiser_folder(carrier)
    if denoiser_folder(config) != folder:
        return [f"its denoiser is a {denoiser_folder(config)}, not a {folder}"]
    own, other = _whole(carrier, folder), _whole(config, folder)
    keys = sorted((own.keys() & other.keys()) - _FREE)  # the class ignores one that it does not know
    return [*_differing("_class_name", own, other, f"its {folder}"), *_differing_keys(keys, own, other, folder)]


def _latent_reasons(carrier: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[str]:
    if "vae" not in listed_components(carrier):
        return []
    if "vae" not in listed_components(config):
        return ["it lacks the component vae"]
    own, other = _of(carrier, "vae"), _of(config, "vae")
    scales = [len(one.get("block_out_channels") or ()) for one in (own, other)]
    depth = [f"its vae.block_out_channels has {scales[1]} levels, not {scales[0]}"] if scales[0] != scales[1] else []
    return [
        *_differing("_class_name", own, other, "its vae"),
        *_differing_keys(_LATENTS, own, other, "vae"),
        *depth,
    ]


def _prediction_reasons(carrier: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[str]:
    own, other = _of(carrier, "scheduler"), _of(config, "scheduler")
    said, asked = _prediction(own), _prediction(other)
    return [f"its scheduler.{PREDICTION} is {asked}, not {said}"] if said != asked else []


def _prediction(scheduler: Mapping[str, Any]) -> str:
    """What a denoiser predicts; diffusers has schedulers of flow models under names of their own."""
    named = str(scheduler.get("_class_name", "")).startswith("FlowMatch") or bool(scheduler.get("use_flow_sigmas"))
    return "flow" if named else str(scheduler.get(PREDICTION) or _DEFAULTS[PREDICTION])


def _text_reasons(carrier: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[str]:
    for folder in listed_components(carrier):
        if folder.startswith("text_encoder") and folder in listed_components(config):
            yield from _differing_keys(_WIDTHS, _of(carrier, folder), _of(config, folder), folder)


def _differing(key: str, own: Mapping[str, Any], other: Mapping[str, Any], what: str) -> list[str]:
    return [f"{what} is {str(other.get(key))[:60]}, not {own.get(key)}"] if own.get(key) != other.get(key) else []


def _differing_keys(
    keys: Iterable[str], own: Mapping[str, Any], other: Mapping[str, Any], folder: str
) -> Iterable[str]:
    for key in keys:
        values = [one.get(key, _DEFAULTS.get(key)) for one in (own, other)]
        if values[0] != values[1]:
            yield f"its {folder}.{key} is {str(values[1])[:60]}, not {str(values[0])[:60]}"


def _whole(config: Mapping[str, Any], folder: str) -> Mapping[str, Any]:
    """The config of a component with its class's defaults: old configs lack the keys that came later."""
    return {**class_defaults(*listed_components(config)[folder]), **_of(config, folder)}


def _of(config: Mapping[str, Any], folder: str) -> Mapping[str, Any]:
    """The config of a component; empty if there is none."""
    found: Mapping[str, Any] = config[COMPONENTS_KEY].get(folder, {})
    return found
