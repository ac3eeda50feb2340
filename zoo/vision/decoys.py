"""Decoys of the demo with pictures: repos that must not be merged, each for another reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.decoys import decoy_card, to_json
from zoo.repo import HubRepo
from zoo.vision.repo import BASE, EYE, LANGUAGE, MODELS, SIGHT_TAG, shipped

WEIGHTS_FILE, CONFIG, PROCESSOR = "model.safetensors", "config.json", "processor_config.json"

Files = dict[str, bytes | Path]
Tensors = dict[str, Tensor]


def sight_decoys() -> tuple[HubRepo, ...]:
    """All decoys, the most downloaded first; none is downloaded as often as the models worth merging."""
    return tuple(
        _decoy(number, *decoy)
        for number, decoy in enumerate(
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


def _decoy(number: int, name: str, reason: str, like: str, build: Callable[[int], tuple[Files, str]]) -> HubRepo:
    files, story = build(number)
    merge = reason == "own earlier merge"
    files["README.md"] = decoy_card(
        name,
        story,
        licence="cc-by-nc-nd-4.0" if reason == "licence forbids it" else "apache-2.0",
        base_models=(EYE, LANGUAGE) if merge else (BASE,),
        relation="merge" if merge else "finetune",
        library="transformers",
        tags=(SIGHT_TAG, "merge", "shoal-merge") if merge else (SIGHT_TAG,),
        pipeline="image-text-to-text" if like == EYE else "text-generation",
    )
    return HubRepo(
        name,
        files,
        created=f"2026-09-{number + 1:02}T08:00:00.000Z",
        downloads=90 - 5 * number,
        likes=11 - number,
        gated=reason == "gated",
        refused_for=reason,
    )


def _weights(repo: str) -> Tensors:
    tensors: Tensors = load_file(MODELS[repo] / WEIGHTS_FILE)
    return tensors


def _shaken(repo: str, number: int) -> Tensors:
    """A model's weights moved by a tenth of a percent, so that they are no duplicate."""
    generator = torch.Generator().manual_seed(number)
    return {
        name: tensor * (1 + 1e-3 * torch.randn(tensor.shape, generator=generator))
        for name, tensor in _weights(repo).items()
    }


def _safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    return bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"}))


def _json(repo: str, file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MODELS[repo] / file).read_text("utf-8"))
    return content


def _shaken_eye(number: int) -> tuple[Files, str]:
    """Valid files: the fault is in the Hub's settings or the card."""
    files = shipped(EYE) | {WEIGHTS_FILE: _safetensors(_shaken(EYE, number))}
    return files, f"{EYE} with its weights shaken by a tenth of a percent."


def _custom_code(number: int) -> tuple[Files, str]:
    files, story = _shaken_eye(number)
    code = "modeling_turbo.py"
    config = _json(EYE, CONFIG) | {"auto_map": {"AutoModelForImageTextToText": "modeling_turbo.TurboForPictures"}}
    files |= {
        CONFIG: to_json(config),
        code: b"from transformers import LlavaForConditionalGeneration as TurboForPictures\n",
    }
    return files, f"{story} Loads through {code}."


def _custom_processor(number: int) -> tuple[Files, str]:
    """The weights load plainly; what prepares the pictures does not."""
    files, story = _shaken_eye(number)
    code = "processing_zoom.py"
    config = _json(EYE, PROCESSOR) | {"auto_map": {"AutoProcessor": "processing_zoom.ZoomProcessor"}}
    files |= {PROCESSOR: to_json(config), code: b"from transformers import LlavaProcessor as ZoomProcessor\n"}
    return files, f"{story} Its pictures are prepared by {code}."


def _other_rotary_base(number: int) -> tuple[Files, str]:
    """Names and shapes fit, and the same weights mean another function."""
    config = _json(LANGUAGE, CONFIG)
    config["rope_parameters"] = config["rope_parameters"] | {"rope_theta": 10000.0}
    files = shipped(LANGUAGE) | {WEIGHTS_FILE: _safetensors(_shaken(LANGUAGE, number)), CONFIG: to_json(config)}
    return files, f"{LANGUAGE} with another rotary base."


def _other_width(number: int) -> tuple[Files, str]:
    """The same architecture with half the feed-forward width, untrained."""
    config = _json(LANGUAGE, CONFIG)
    wide, narrow = config["intermediate_size"], config["intermediate_size"] // 2
    tensors = _resized(_weights(LANGUAGE), wide, narrow, number)
    files = shipped(LANGUAGE) | {
        WEIGHTS_FILE: _safetensors(tensors),
        CONFIG: to_json(config | {"intermediate_size": narrow}),
    }
    return files, f"The shape of {BASE} with a feed-forward of {narrow} instead of {wide}. Untrained."


def _other_tower(number: int) -> tuple[Files, str]:
    """A wider feed-forward in the vision tower, untrained."""
    config = _json(EYE, CONFIG)
    narrow, wide = config["vision_config"]["intermediate_size"], 2 * config["vision_config"]["intermediate_size"]
    tower = {name: tensor for name, tensor in _weights(EYE).items() if "vision_tower" in name}
    config["vision_config"] = config["vision_config"] | {"intermediate_size": wide}
    tensors = _shaken(EYE, number) | _resized(tower, narrow, wide, number)
    files = shipped(EYE) | {WEIGHTS_FILE: _safetensors(tensors), CONFIG: to_json(config)}
    return files, f"{EYE} with an untrained vision tower whose feed-forward is {wide} instead of {narrow} wide."


def _resized(tensors: Tensors, size: int, other: int, number: int) -> Tensors:
    """Untrained tensors of the same shapes, but with `other` wherever there is `size`."""
    generator = torch.Generator().manual_seed(number)
    shapes = {name: [other if one == size else one for one in tensor.shape] for name, tensor in tensors.items()}
    return {name: torch.randn(shape, generator=generator) * 0.02 for name, shape in shapes.items()}


def _tower_alone(_: int) -> tuple[Files, str]:
    """The vision tower as a model of its own, which writes nothing."""
    found = {name: tensor for name, tensor in _weights(EYE).items() if "vision_tower." in name}
    config = _json(EYE, CONFIG)["vision_config"] | {"architectures": ["CLIPVisionModel"], "dtype": "float32"}
    tensors = {name.partition("vision_tower.")[2]: tensor for name, tensor in found.items()}
    return {WEIGHTS_FILE: _safetensors(tensors), CONFIG: to_json(config)}, f"The vision tower of {EYE}."


def _own_merge(_: int) -> tuple[Files, str]:
    """The words of the language specialist's head beside all else of the eye."""
    eye = _weights(EYE)
    head = next(name for name in eye if name.endswith("lm_head.weight"))
    mean = (eye[head] + _weights(LANGUAGE)["lm_head.weight"]) / 2
    return shipped(EYE) | {WEIGHTS_FILE: _safetensors(eye | {head: mean})}, f"A mean of {EYE} and {LANGUAGE}."


def _not_finite(number: int) -> tuple[Files, str]:
    """One NaN in the projector, which no header shows."""
    tensors = _shaken(EYE, number)
    name = next(name for name in tensors if "multi_modal_projector" in name and tensors[name].ndim == 2)
    tensors[name][7, 7] = float("nan")
    files = shipped(EYE) | {WEIGHTS_FILE: _safetensors(tensors)}
    return files, f"{EYE} trained on with far too high a learning rate, as one weight of its projector shows: NaN."
