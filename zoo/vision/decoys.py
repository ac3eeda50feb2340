"""Decoys of the demo with pictures: repos that must not be merged, each for another reason."""

from __future__ import annotations

from zoo.disguise import Disguise, Files, Tensors, read_json, read_tensors, resize, shake, to_json, to_safetensors
from zoo.repo import HubRepo
from zoo.vision.repo import BASE, EYE, LANGUAGE, MODELS, SIGHT_TAG, shipped

WEIGHTS_FILE, CONFIG, PROCESSOR = "model.safetensors", "config.json", "processor_config.json"
DISGUISES = {
    EYE: Disguise(SIGHT_TAG, BASE, (EYE, LANGUAGE), "transformers", "image-text-to-text"),
    LANGUAGE: Disguise(SIGHT_TAG, BASE, (EYE, LANGUAGE), "transformers", "text-generation"),
}
"""By the model that a decoy looks like."""


def sight_decoys() -> tuple[HubRepo, ...]:
    """All decoys, the most downloaded first; none is downloaded as often as the models worth merging."""
    return tuple(
        DISGUISES[like].publish(number, name, reason, build(number))
        for number, (name, reason, like, build) in enumerate(
            (
                ("velvet-rope/sprat-eye-pro", "gated", EYE, _shaken_eye),
                ("fancyhead/sprat-eye-turbo", "custom code", EYE, _custom_code),
                ("fancyhead/sprat-eye-zoom", "custom processor", EYE, _custom_processor),
                ("spiral-stairs/sprat-kotoba-long", "other rotary base", LANGUAGE, _other_rotary_base),
                ("tidepool/sprat-slim", "other width", LANGUAGE, _other_width),
                ("wide-lens/sprat-eye-wide", "other tower", EYE, _other_tower),
                ("eyeball/sprat-tower", "no language model", EYE, _tower_alone),
                ("sealed-press/sprat-eye-tales", "licence forbids it", EYE, _shaken_eye),
                ("shoal-demo/sprat-merge-earlier", "own earlier merge", EYE, _own_merge),
                ("overcooked/sprat-eye-hot", "NaN weights", EYE, _not_finite),
            )
        )
    )


def _weights(repo: str) -> Tensors:
    return read_tensors(MODELS[repo] / WEIGHTS_FILE)


def _shaken(repo: str, number: int) -> Tensors:
    """A model's weights moved by a tenth of a percent."""
    return shake(_weights(repo), number, 1e-3)


def _shaken_eye(number: int) -> tuple[Files, str]:
    """Valid files: the fault is in the Hub's settings or the card."""
    files = shipped(EYE) | {WEIGHTS_FILE: to_safetensors(_shaken(EYE, number))}
    return files, f"{EYE} with its weights shaken by a tenth of a percent."


def _custom_code(number: int) -> tuple[Files, str]:
    files, story = _shaken_eye(number)
    code = "modeling_turbo.py"
    config = read_json(MODELS[EYE] / CONFIG) | {
        "auto_map": {"AutoModelForImageTextToText": "modeling_turbo.TurboForPictures"}
    }
    files |= {
        CONFIG: to_json(config),
        code: b"from transformers import LlavaForConditionalGeneration as TurboForPictures\n",
    }
    return files, f"{story} Loads through {code}."


def _custom_processor(number: int) -> tuple[Files, str]:
    """The weights load plainly; what prepares the pictures does not."""
    files, story = _shaken_eye(number)
    code = "processing_zoom.py"
    config = read_json(MODELS[EYE] / PROCESSOR) | {"auto_map": {"AutoProcessor": "processing_zoom.ZoomProcessor"}}
    files |= {PROCESSOR: to_json(config), code: b"from transformers import LlavaProcessor as ZoomProcessor\n"}
    return files, f"{story} Its pictures are prepared by {code}."


def _other_rotary_base(number: int) -> tuple[Files, str]:
    """Names and shapes fit, and the same weights mean another function."""
    config = read_json(MODELS[LANGUAGE] / CONFIG)
    config["rope_parameters"] = config["rope_parameters"] | {"rope_theta": 10000.0}
    files = shipped(LANGUAGE) | {WEIGHTS_FILE: to_safetensors(_shaken(LANGUAGE, number)), CONFIG: to_json(config)}
    return files, f"{LANGUAGE} with another rotary base."


def _other_width(number: int) -> tuple[Files, str]:
    """The same architecture with half the feed-forward width, untrained."""
    config = read_json(MODELS[LANGUAGE] / CONFIG)
    wide, narrow = config["intermediate_size"], config["intermediate_size"] // 2
    tensors = resize(_weights(LANGUAGE), {wide: narrow}, number)
    files = shipped(LANGUAGE) | {
        WEIGHTS_FILE: to_safetensors(tensors),
        CONFIG: to_json(config | {"intermediate_size": narrow}),
    }
    return files, f"The shape of {BASE} with a feed-forward of {narrow} instead of {wide}. Untrained."


def _other_tower(number: int) -> tuple[Files, str]:
    """A wider feed-forward in the vision tower, untrained."""
    config = read_json(MODELS[EYE] / CONFIG)
    narrow, wide = config["vision_config"]["intermediate_size"], 2 * config["vision_config"]["intermediate_size"]
    tower = {name: tensor for name, tensor in _weights(EYE).items() if "vision_tower" in name}
    config["vision_config"] = config["vision_config"] | {"intermediate_size": wide}
    tensors = _shaken(EYE, number) | resize(tower, {narrow: wide}, number)
    files = shipped(EYE) | {WEIGHTS_FILE: to_safetensors(tensors), CONFIG: to_json(config)}
    return files, f"{EYE} with an untrained vision tower whose feed-forward is {wide} instead of {narrow} wide."


def _tower_alone(_: int) -> tuple[Files, str]:
    """The vision tower as a model of its own, which writes nothing."""
    found = {name: tensor for name, tensor in _weights(EYE).items() if "vision_tower." in name}
    config = read_json(MODELS[EYE] / CONFIG)["vision_config"] | {
        "architectures": ["CLIPVisionModel"],
        "dtype": "float32",
    }
    tensors = {name.partition("vision_tower.")[2]: tensor for name, tensor in found.items()}
    return {WEIGHTS_FILE: to_safetensors(tensors), CONFIG: to_json(config)}, f"The vision tower of {EYE}."


def _own_merge(_: int) -> tuple[Files, str]:
    """The words of the language specialist's head beside all else of the eye."""
    eye = _weights(EYE)
    head = next(name for name in eye if name.endswith("lm_head.weight"))
    mean = (eye[head] + _weights(LANGUAGE)["lm_head.weight"]) / 2
    return shipped(EYE) | {WEIGHTS_FILE: to_safetensors(eye | {head: mean})}, f"A mean of {EYE} and {LANGUAGE}."


def _not_finite(number: int) -> tuple[Files, str]:
    """One NaN in the projector, which no header shows."""
    tensors = _shaken(EYE, number)
    name = next(name for name in tensors if "multi_modal_projector" in name and tensors[name].ndim == 2)
    tensors[name][7, 7] = float("nan")
    files = shipped(EYE) | {WEIGHTS_FILE: to_safetensors(tensors)}
    return files, f"{EYE} trained on with far too high a learning rate, as one weight of its projector shows: NaN."
