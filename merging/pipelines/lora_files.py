"""Which file of a folder, or of a repo, is a LoRA for pipelines. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from merging.errors import MergingError

USUAL_LORA = "pytorch_lora_weights.safetensors"
"""The name that diffusers gives a LoRA's file."""


def choose_lora_file(paths: Iterable[str]) -> str:
    """The file of a folder, or of a repo, that is its LoRA; MergingError, in a few words, if it has none or several."""
    found = sorted(path for path in paths if path.endswith(".safetensors") and "/" not in path)
    usual = [path for path in found if path == USUAL_LORA]
    if len(usual or found) != 1:
        why = f"several LoRAs ({', '.join(found[:3])})" if found else "no LoRA in safetensors"
        raise MergingError(f"it has {why}: name one file")
    return (usual or found)[0]
