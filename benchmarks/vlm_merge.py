"""`shoal merge` against `mergekit-yaml` on vision-language models: tensors written, loadable or not, time, memory.

    python -m benchmarks vlm_merge [WIDTH [LAYERS]]

Random bf16 siblings are made in a temporary folder: three LLaVAs (a CLIP tower of 12 layers of 768; a Llama of WIDTH,
1,024 by default, and LAYERS, 16), one of them under the names that their authors' files have and two under those that
transformers has in memory, and two Llamas of the decoder's family. Both sides merge two LLaVAs of either layout, those
in memory again by modules, and a LLaVA and a Llama with and without a base. Each side is a command of its own, start-up
included, as in `merge_files`, which says how memory is measured. A result is loaded by plain `from_pretrained`: it
counts how many weights are missing, which transformers initialises anew at random. Claim: shoal writes every tensor,
and mergekit all of them in the second case alone, where both results are compared value by value; it stops at LLaVA's
modules.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from benchmarks.merge_files import Stopped, difference, ours, theirs
from benchmarks.record import Figures
from merging.sources.checkpoint import SINGLE_NAME, Checkpoint

_SPREAD = 0.002
"""Standard deviation of what siblings differ by, a tenth of that of their weights."""

_AUTHORS = {
    "model.language_model.": "language_model.model.",
    "lm_head.": "language_model.lm_head.",
    "model.vision_tower.": "vision_tower.vision_model.",
    "model.": "",
}
"""Beginning of a name in memory → of the name in the files of LLaVA's authors."""

_MODULES = ("text_decoder", "vision_tower", "multi_modal_projector")


def make_models(folder: Path, width: int, layers: int) -> dict[str, Path]:
    """Write the siblings; returns name → folder."""
    text = LlamaConfig(
        hidden_size=width,
        intermediate_size=width * 14 // 5,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        vocab_size=32_000,
    )
    config = LlavaConfig(
        text_config=text.to_dict(), vision_config=CLIPVisionConfig().to_dict(), image_token_index=31_999
    )
    torch.manual_seed(0)
    eye = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    torch.manual_seed(0)
    reader = AutoModelForCausalLM.from_config(text, dtype=torch.bfloat16)
    wanted: dict[str, tuple[PreTrainedModel, Callable[[str], str]]] = {
        "authors-1": (eye, _authors_name),
        "authors-2": (eye, _authors_name),
        "memory-1": (eye, str),
        "memory-2": (eye, str),
        "text": (reader, str),
        "base": (reader, str),
    }
    return {
        name: _write(folder / name, model, rename, seed) for seed, (name, (model, rename)) in enumerate(wanted.items())
    }


def _authors_name(name: str) -> str:
    inside = next(beginning for beginning in _AUTHORS if name.startswith(beginning))
    return _AUTHORS[inside] + name.removeprefix(inside)


def _write(folder: Path, model: PreTrainedModel, rename: Callable[[str], str], seed: int) -> Path:
    folder.mkdir(parents=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        rename(name): weight + _SPREAD * torch.randn(weight.shape, generator=generator).to(weight.dtype)
        for name, weight in model.state_dict().items()
    }
    save_file(tensors, folder / SINGLE_NAME, {"format": "pt"})
    return folder


def recipes(models: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The merges by what they are."""

    def inputs(*names: str) -> dict[str, Any]:
        return {"models": [{"model": str(models[name]), "parameters": {"weight": 0.5}} for name in names]}

    linear = {"merge_method": "linear", "dtype": "bfloat16"}
    arithmetic = {"merge_method": "task_arithmetic", "base_model": str(models["base"]), "dtype": "bfloat16"}
    return {
        "two LLaVAs, authors' names": {**linear, **inputs("authors-1", "authors-2")},
        "two LLaVAs, names in memory": {**linear, **inputs("memory-1", "memory-2")},
        "two LLaVAs by modules": {**linear, "modules": dict.fromkeys(_MODULES, inputs("memory-1", "memory-2"))},
        "LLaVA and Llama, on a Llama": {**arithmetic, **inputs("authors-1", "text")},
        "LLaVA and Llama": {**linear, **inputs("authors-1", "text")},
    }


def missing_weights(folder: Path) -> int | None:
    """How many weights of the vision-language model a result lacks; None if it is no such model."""
    try:
        _, report = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return len(report["missing_keys"])


def compare(what: str, recipe: Mapping[str, Any], folder: Path) -> Figures:
    """Measure both on one merge, print a line for each, and return its figures."""
    file = folder / "recipe.yml"
    file.write_text(yaml.safe_dump(dict(recipe), sort_keys=False))
    targets = {"shoal": folder / "ours", "mergekit": folder / "theirs"}
    runs = {"shoal": ours(file, targets["shoal"])}
    stopped = False
    try:
        runs["mergekit"] = theirs(file, targets["mergekit"], "--allow-crimes")
    except Stopped as error:
        runs["mergekit"], stopped = error.run, True
    sides: dict[str, Figures] = {}
    for side, target in targets.items():
        stops = stopped and side == "mergekit"
        written, missing = (0, None) if stops else (len(Checkpoint.open(target).names), missing_weights(target))
        loads = "stops" if stops else "another kind of model" if missing is None else f"{missing} weights missing"
        cost = f"{runs[side].seconds:5.1f} s {runs[side].anonymous / 1e9:5.2f} GB"
        print(f"{what:28s} {side:9s} {written:4d} tensors · {loads:22s} · {cost}", flush=True)
        sides[side] = {"tensors": written, "missing": missing, **asdict(runs[side])}
    if sides["mergekit"]["missing"] == 0:
        print(f"{'':28s} {difference(targets['shoal'], targets['mergekit'])}")
    for target in targets.values():
        shutil.rmtree(target, ignore_errors=True)
    return {"merge": what, **sides}


def main() -> Figures:
    """Make the models, and compare both sides on every merge."""
    given = [int(number) for number in sys.argv[1:]]
    width, layers = (*given, *(1024, 16)[len(given) :])
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = make_models(folder / "models", width, layers)
        size = (models["memory-1"] / SINGLE_NAME).stat().st_size
        print(f"{size / 2e9:.2f} B parameters, bf16, {torch.get_num_threads()} threads")
        merges = recipes(models)
        ours_first = folder / "first.yml"
        ours_first.write_text(yaml.safe_dump(next(iter(merges.values())), sort_keys=False))
        first = ours(ours_first, folder / "ours").seconds
        shutil.rmtree(folder / "ours")
        print(f"first merge of models of this config: {first:.1f} s", flush=True)
        rows = [compare(what, recipe, folder) for what, recipe in merges.items()]
    return {"billions": size / 2e9, "first_merge_s": first, "merges": rows}


if __name__ == "__main__":
    main()
