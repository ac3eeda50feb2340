"""Tries a task's sampler with a pipeline like those that will be scored, and names the key that is at fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from evaluation.errors import EvaluationError
from evaluation.pictures.drawing import Painter
from evaluation.pictures.sampler import COARSEST_GRID, Sampler

_BINNING = "use_resolution_binning"
"""The argument by which some pipelines draw in the nearest size that they know, and scale the picture."""


def find_fault(painter: Painter, sampler: Sampler, prompt: str) -> str | None:
    """The key of a sampler with which nothing can be drawn, its value, and why; None where there is none.

    It is the key without which, or with a plain value of which, a picture can be drawn.
    """
    reason = find_reason(painter, sampler, prompt)
    if reason is None or reason.startswith("sampler."):
        return reason
    for key, value, other in _changed(sampler):
        if find_reason(painter, other, prompt) is None:
            return f"sampler.{key}: got {value}: {reason}"
    return f"sampler: {reason}"


def find_reason(painter: Painter, sampler: Sampler, prompt: str) -> str | None:
    """Why nothing can be drawn with a sampler; None where a picture can."""
    try:
        painter.check(sampler)
        painter.draft(sampler, prompt)
    except torch.OutOfMemoryError:
        return f"a picture of {sampler.width} × {sampler.height} pixels does not fit the memory of {painter.device}"
    except (EvaluationError, RuntimeError) as error:
        return " ".join(str(error).split()).removeprefix("sampler: ")[:400]
    return None


def draws_in_sizes_of_its_own(painter: Painter, sampler: Sampler) -> str | None:
    """Why a smaller picture would cost a pipeline no less; None where it does."""
    if _BINNING in painter.parameters and sampler.options.get(_BINNING, True):
        return f"{sampler.key_of(_BINNING)}: without false, pictures are drawn in another size and scaled to this one"
    return None


def _changed(sampler: Sampler) -> Iterator[tuple[str, object, Sampler]]:
    """Each key that may be at fault, its value, and the sampler without it."""
    for name, value in sampler.options.items():
        kept = {key: other for key, other in sampler.options.items() if key != name}
        yield f"options.{name}", value, replace(sampler, options=kept)
    given = sampler.scheduler or {}
    for name, value in sorted(given.items(), key=lambda setting: setting[0] == "class"):  # the class last
        kept = {key: other for key, other in given.items() if key != name}
        yield f"scheduler.{name}", value, replace(sampler, scheduler=None if name == "class" else kept)
    if sampler.negative_prompt is not None:
        yield "negative_prompt", repr(sampler.negative_prompt), replace(sampler, negative_prompt=None)
    yield "guidance", f"{sampler.guidance:g}", replace(sampler, guidance=0.0)
    yield "steps", sampler.steps, replace(sampler, steps=1)
    width, height = (COARSEST_GRID * -(-side // COARSEST_GRID) for side in sampler.size)
    yield "width and height", f"{sampler.width} and {sampler.height}", replace(sampler, width=width, height=height)
