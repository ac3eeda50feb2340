"""Which files of a repo are meant, where it is no whole model and no adapter of peft's.

A repo of an image generator may be a LoRA in one file, a checkpoint in one file, or a denoiser alone. Names of files,
and what the card says, have to do here: what a named file is, only its header tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.hub.discovery.candidate import Candidate
from merging.errors import MergingError
from merging.kinds import KINDS
from merging.pipelines.lora_files import choose_lora_file
from merging.pipelines.partial.denoiser_files import CONFIG, denoiser_files, find_lone_denoiser

_ENDING = ".safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WHOLE = "model"
"""The beginning of names of whole models' weights, as transformers has them."""

_MOST_NAMED = 6


def with_lora(candidate: Candidate, file: str | None = None) -> Candidate:
    """The candidate with the LoRA that is meant: the named file, or its only LoRA; MergingError if it has none such."""
    found = choose_lora_file(_paths(candidate)) if file is None else _present(candidate, file)
    return replace(candidate, lora_file=found, checkpoint_file=None)


def with_checkpoint(candidate: Candidate, file: str) -> Candidate:
    """The candidate with the checkpoint that is meant: the named file; MergingError if it is not there."""
    return replace(candidate, checkpoint_file=_present(candidate, file), lora_file=None)


def with_denoiser(candidate: Candidate) -> Candidate:
    """A repo with a denoiser alone, with its files; all others as they are.

    MergingError, in a few words, for one without whole weights in safetensors.
    """
    paths = _paths(candidate)
    if (place := find_lone_denoiser(paths)) is None:
        return candidate
    config = f"{place}/{CONFIG}" if place else CONFIG
    return replace(candidate, denoiser_files=frozenset({config, *denoiser_files(paths, place).paths}))


def with_named_file(candidate: Candidate, file: str) -> Candidate:
    """The candidate with one file, as a LoRA if its name or the card say so; MergingError if it is not there."""
    is_lora = candidate.is_said_to_be_adapter or "lora" in file.lower()
    return (with_lora if is_lora else with_checkpoint)(candidate, file)


def with_meant_files(candidate: Candidate, kind: str) -> Candidate:
    """A repo that is a denoiser alone, a LoRA or a checkpoint in one file, with its files; all others as they are.

    kind: name of the kind of models that merges are.
    """
    if not KINDS[kind].loose_parts or candidate.is_pipeline or candidate.is_adapter or candidate.is_part:
        return candidate
    try:
        found = with_denoiser(candidate)
        if not found.is_part and candidate.is_said_to_be_adapter:
            return with_lora(candidate)
        single = _checkpoints(candidate)
        return with_checkpoint(candidate, *single) if not found.is_part and len(single) == 1 else found
    except MergingError:
        return candidate  # `explain_unclear` says why


def explain_unclear(candidate: Candidate, kind: str) -> str | None:
    """Why a repo has no files that are meant, though it seems to be a part of a model or a LoRA; None of all others."""
    if not KINDS[kind].loose_parts or candidate.is_pipeline or candidate.is_adapter or candidate.is_part:
        return None
    try:
        with_denoiser(candidate)
    except MergingError as error:
        return f"it is a denoiser alone: {error}"
    if candidate.is_said_to_be_adapter:
        found = sorted(path for path in _paths(candidate) if path.endswith((_ENDING, *_PICKLES)))
        needed = f"it is an adapter: one LoRA in safetensors is needed, and it has {_list(found) or 'none'}"
        loras = [path for path in found if path.endswith(_ENDING)]
        return f"{needed}; pin one, as in {candidate.repo}:{loras[0]}" if len(loras) > 1 else needed
    if len(several := _checkpoints(candidate)) > 1:
        return f"it has several files of weights ({_list(several)}); pin one, as in {candidate.repo}:{several[0]}"
    return None


def _checkpoints(candidate: Candidate) -> list[str]:
    """The files at the top that may be checkpoints in one file; none of a repo with a model of transformers."""
    paths = _paths(candidate)
    found = sorted(path for path in paths if path.endswith(_ENDING) and "/" not in path)
    return [] if CONFIG in paths or any(path.startswith(_WHOLE) for path in found) else found


def _present(candidate: Candidate, file: str) -> str:
    paths = _paths(candidate)
    if file not in paths:
        others = [path for path in paths if path.endswith(_ENDING)]
        raise MergingError(f"it has no file {file}, but {_list(others) or 'none in safetensors'}")
    return file


def _paths(candidate: Candidate) -> list[str]:
    return [file.path for file in candidate.files]


def _list(names: Sequence[str]) -> str:
    return ", ".join(name[:60] for name in names[:_MOST_NAMED]) + (" …" if len(names) > _MOST_NAMED else "")
