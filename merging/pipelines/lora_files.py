"""Which file of a folder, or of a repo, is a LoRA for pipelines. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from merging.errors import MergingError

USUAL_LORA = "pytorch_lora_weights.safetensors"
"""The name that diffusers gives a LoRA's file."""

_MOST_NAMED = 6


def choose_lora_file(paths: Iterable[str]) -> str:
    """The file of a folder, or of a repo, that is its LoRA; MergingError, in a few words, if it has none or several."""
    found = sorted(path for path in paths if path.endswith(".safetensors") and "/" not in path)
    usual = [path for path in found if path == USUAL_LORA]
    if not found:
        raise MergingError("it has no LoRA in safetensors")
    if len(usual or found) != 1:
        shown = ", ".join(found[:_MOST_NAMED]) + (" …" if len(found) > _MOST_NAMED else "")
        raise MergingError(f"it has several LoRAs ({shown}): name one after a colon, as in …:{found[0]}")
    return (usual or found)[0]
