"""Decoys of the demo that draws: repos that must not be merged, each for another reason."""

from __future__ import annotations

import io
from typing import Any

import torch

from zoo.disguise import Disguise, Files, Tensors, read_json, read_tensors, resize, shake, to_json, to_safetensors
from zoo.pictures.repo import BASE, LANGUAGE, MODELS, PAPERCUT, PICTURE_TAG, shipped
from zoo.repo import HubRepo

INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
UNET, UNET_CONFIG = "unet/diffusion_pytorch_model.safetensors", "unet/config.json"
VAE, VAE_CONFIG = "vae/diffusion_pytorch_model.safetensors", "vae/config.json"
TEXT, TEXT_CONFIG = "text_encoder/model.safetensors", "text_encoder/config.json"

DISGUISE = Disguise(PICTURE_TAG, BASE, (PAPERCUT, LANGUAGE), "diffusers", "text-to-image", most_likes=13)


def picture_decoys() -> tuple[HubRepo, ...]:
    """All decoys, the most downloaded first; none is downloaded as often as the models worth merging."""
    return tuple(
        DISGUISE.publish(number, name, reason, build(number))
        for number, (name, reason, build) in enumerate(
            (
                ("velvet-rope/tetra-papercut-pro", "gated", _shaken),
                ("fancyhead/tetra-turbo", "custom pipeline", _custom_pipeline),
                ("fancyhead/tetra-unet-plus", "custom component", _custom_component),
                ("oldschool-ml/tetra-papercut-ckpt", "pickle only", _pickle_only),
                ("patchwork/tetra-inpainting", "no text-to-image pipeline", _other_task),
                ("missing-piece/tetra-half", "lacks a component", _no_vae),
                ("epsilon-club/tetra-noise", "other prediction", _other_prediction),
                ("wide-lens/tetra-fine", "other latents", _other_latents),
                ("tidepool/tetra-words", "other text width", _other_width),
                ("sealed-press/tetra-tales", "licence forbids it", _shaken),
                ("shoal-demo/tetra-merge-earlier", "own earlier merge", _own_merge),
                ("overcooked/tetra-papercut-hot", "NaN weights", _not_finite),
            )
        )
    )


def _tensors(file: str, repo: str = PAPERCUT) -> Tensors:
    return read_tensors(MODELS[repo] / file)


def _json(file: str) -> dict[str, Any]:
    return read_json(MODELS[PAPERCUT] / file)


def _shake(tensors: Tensors, number: int) -> Tensors:
    """Weights moved by a percent."""
    return shake(tensors, number, 1e-2)


def _shaken(number: int) -> tuple[Files, str]:
    """Valid files: the fault is in the Hub's settings or the card."""
    files = shipped(PAPERCUT) | {UNET: to_safetensors(_shake(_tensors(UNET), number))}
    return files, f"{PAPERCUT} with the weights of its UNet shaken by a percent."


def _custom_pipeline(number: int) -> tuple[Files, str]:
    files, story = _shaken(number)
    code = "pipeline_turbo.py"
    index = _json(INDEX) | {"_class_name": ["pipeline_turbo", "TurboPipeline"]}
    files |= {INDEX: to_json(index), code: b"from diffusers import StableDiffusionPipeline as TurboPipeline\n"}
    return files, f"{story} Draws through {code}."


def _custom_component(number: int) -> tuple[Files, str]:
    """The pipeline is a plain one, and its denoiser is not."""
    files, story = _shaken(number)
    code = "unet/unet_plus.py"
    index = _json(INDEX) | {"unet": ["unet_plus", "UNetPlus"]}
    files |= {INDEX: to_json(index), code: b"from diffusers import UNet2DConditionModel as UNetPlus\n"}
    return files, f"{story} Its UNet is that of {code}."


def _pickle_only(number: int) -> tuple[Files, str]:
    files, story = _shaken(number)
    del files[UNET]
    buffer = io.BytesIO()
    torch.save(_shake(_tensors(UNET), number), buffer)
    return files | {UNET.replace(".safetensors", ".bin"): buffer.getvalue()}, f"{story} Its UNet is kept as a pickle."


def _other_task(number: int) -> tuple[Files, str]:
    """A pipeline that draws into a picture, and has none to begin with here."""
    files, story = _shaken(number)
    index = _json(INDEX) | {"_class_name": "StableDiffusionInpaintPipeline"}
    return files | {INDEX: to_json(index)}, f"{story} For inpainting."


def _no_vae(number: int) -> tuple[Files, str]:
    """The index lists what is not there."""
    files, story = _shaken(number)
    left = {path: content for path, content in files.items() if not path.startswith("vae/")}
    return left, f"{story} Without a VAE, which everybody has anyway."


def _other_prediction(number: int) -> tuple[Files, str]:
    """Names and shapes fit, and the same weights mean another function."""
    files, story = _shaken(number)
    scheduler = _json(SCHEDULER) | {"prediction_type": "epsilon"}
    return files | {SCHEDULER: to_json(scheduler)}, f"{story} Predicts noise."


def _other_latents(number: int) -> tuple[Files, str]:
    """A VAE whose latents are twice as large as those that the other denoisers work on."""
    files, story = _shaken(number)
    config = _json(VAE_CONFIG)
    config["scaling_factor"] = config["scaling_factor"] / 2
    return files | {VAE_CONFIG: to_json(config)}, f"{story} Its latents are scaled otherwise."


def _other_width(number: int) -> tuple[Files, str]:
    """A text encoder of half the width and a denoiser that listens to it, untrained."""
    text, unet = _json(TEXT_CONFIG), _json(UNET_CONFIG)
    wide, narrow = text["hidden_size"], text["hidden_size"] // 2
    text |= {"hidden_size": narrow, "projection_dim": narrow, "intermediate_size": wide}
    heard = {
        name: tensor[:, :narrow] if ".attn2.to_k." in name or ".attn2.to_v." in name else tensor
        for name, tensor in _shake(_tensors(UNET), number).items()
    }
    resized = resize(_tensors(TEXT), {wide: narrow, 2 * wide: wide}, number)  # and so is its feed-forward
    files = shipped(PAPERCUT) | {
        TEXT: to_safetensors(resized),
        TEXT_CONFIG: to_json(text),
        UNET: to_safetensors(heard),
        UNET_CONFIG: to_json(unet | {"cross_attention_dim": narrow}),
    }
    return files, f"The shape of {BASE} with an untrained text encoder that is {narrow} wide instead of {wide}."


def _own_merge(_: int) -> tuple[Files, str]:
    papercut, language = _tensors(UNET), _tensors(UNET, LANGUAGE)
    mean = {name: (papercut[name] + language[name]) / 2 for name in papercut}
    return shipped(PAPERCUT) | {UNET: to_safetensors(mean)}, f"A mean of {PAPERCUT} and {LANGUAGE}."


def _not_finite(number: int) -> tuple[Files, str]:
    """One NaN in the UNet, which no header shows."""
    tensors = _shake(_tensors(UNET), number)
    tensors["conv_out.weight"][0, 7, 1, 1] = float("nan")
    files = shipped(PAPERCUT) | {UNET: to_safetensors(tensors)}
    return files, f"{PAPERCUT} trained on with far too high a learning rate, as one weight of its UNet shows: NaN."
