"""The blocks of a denoiser: what comes in, its stages in the order in which they compute, and what goes out.

A stage of a UNet is one level (`down_blocks.0`, `mid_block`, `up_blocks.2`), one of a transformer is one layer. Both
are found by the names of the modules: a numbered list is a row of stages, and no family is known by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from merging.errors import MergingError
from merging.partition import Block, End, Searched, even_bands, is_within
from merging.tensor_names import LAYER_DIGITS

ATTENTION = ("attn", "attn1", "attn2", "attention", "self_attn", "cross_attn", "to_q", "to_k", "to_v", "to_out")
"""Modules, at any depth, that count as attention. In UNets these are the tensors of EvoSDXL's "attn" vector."""

_UNET = {"down_blocks": "down", "mid_block": "mid", "up_blocks": "up"}
"""The parts of a UNet in the order in which they compute; diffusers declares the middle last."""

_OUT_WORDS = frozenset({"out", "final"})
_OUT_NAMES = frozenset({"scale_shift_table"})
"""What shifts and scales the output of the last layer."""


def count_stages(paths: Sequence[str], tensor_names: Sequence[str]) -> int:
    """The number of a denoiser's stages, which is that of its bands at most. paths: as `denoiser_blocks` takes them."""
    return len(_find_stages(paths, tensor_names))


def stage_positions(paths: Sequence[str], tensor_names: Sequence[str]) -> dict[str, float]:
    """The place of each tensor in the row of a denoiser's stages, from 0 to 1, by name.

    What is before the stages has that of the first, what is after them that of the last. paths: as for
    `denoiser_blocks`.
    """
    stages = [stage.path for stage in _find_stages(paths, tensor_names)]
    places = {path: place / max(len(stages) - 1, 1) for place, path in enumerate(stages)}
    outside = {path: float(_is_output(path)) for path in paths}

    def position(name: str) -> float:
        inside = next((place for path, place in places.items() if is_within(name, (path,))), None)
        return outside[next(path for path in outside if is_within(name, (path,)))] if inside is None else inside

    return {name: position(name) for name in tensor_names}


@dataclass(frozen=True)
class _Stage:
    """One stage. label: in a UNet its name ("down 0"), in a transformer its number among all layers."""

    label: str
    path: str


def denoiser_blocks(
    paths: Sequence[str], tensor_names: Iterable[str], *, bands: int, modules_apart: bool, ends_apart: bool
) -> Searched:
    """Divide a denoiser into `bands` bands of stages, whose lengths differ by at most one.

    paths: those of its modules and tensors at the top level, as it declares them. modules_apart: attention and the rest
    of a band have a group each, where it has both. ends_apart: what is before and after the stages has groups of its
    own; otherwise it goes with the rest of the first and of the last band. MergingError for too few stages.
    """
    names = tuple(tensor_names)
    stages = _find_stages(paths, names)
    if not 1 <= bands <= len(stages):
        remedy = f"give between 1 and {len(stages)}"
        raise MergingError(f"groups: got {bands} bands for {len(stages)} stages of the denoiser: {remedy}")
    staged = {stage.path for stage in stages} | {stage.path.rpartition(".")[0] for stage in stages}
    outside = [path for path in paths if path not in staged]
    after = tuple(path for path in outside if _is_output(path))
    before = tuple(path for path in outside if path not in after)
    groups = [stages[start:end] for start, end in even_bands(len(stages), bands)]
    apart = {"in": ends_apart and bool(before), "out": ends_apart and bool(after)}
    blocks = [Block("in", ends=("before",), within=before)] if apart["in"] else []
    for number, group in enumerate(groups):
        first, last = number == 0 and not apart["in"], number == len(groups) - 1 and not apart["out"]
        ends: tuple[End, ...] = (*(("before",) if first else ()), *(("after",) if last else ()))
        within = tuple(stage.path for stage in group) + (before if first else ()) + (after if last else ())
        blocks.append(Block(_label(group), None, ends, within, modules_apart and _has_both(within, names)))
    if apart["out"]:
        blocks.append(Block("out", ends=("after",), within=after))
    return Searched(tuple(blocks), ATTENTION)


def _find_stages(paths: Sequence[str], names: Sequence[str]) -> list[_Stage]:
    order = list(_UNET)
    found: list[_Stage] = []
    for path in sorted(paths, key=lambda path: order.index(_own(path)) if _own(path) in order else 0):
        label, numbers = _UNET.get(_own(path)), _numbers(path, names)
        for number in numbers:
            found.append(_Stage(f"{label} {number}" if label else str(len(found)), f"{path}.{number}"))
        if label and not numbers and any(is_within(name, (path,)) for name in names):
            found.append(_Stage(label, path))
    return found


def _numbers(path: str, names: Sequence[str]) -> list[int]:
    """The numbers of the modules in a list; none if it is not a list of modules."""
    parts = (name.removeprefix(f"{path}.").split(".") for name in names if name.startswith(f"{path}."))
    return sorted({int(part[0]) for part in parts if len(part) > 1 and _is_number(part[0])})


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= LAYER_DIGITS


def _label(stages: Sequence[_Stage]) -> str:
    first, last = stages[0].label, stages[-1].label
    if first.isdigit():
        return f"layer {first}" if first == last else f"layers {first}-{last}"
    return first if first == last else f"{first} to {last}"


def _has_both(within: tuple[str, ...], names: Sequence[str]) -> bool:
    inside = [name for name in names if is_within(name, within)]
    return len({is_within(name, ATTENTION) for name in inside}) == 2


def _is_output(path: str) -> bool:
    own = _own(path)
    return own in _OUT_NAMES or not _OUT_WORDS.isdisjoint(own.split("_"))


def _own(path: str) -> str:
    return path.rpartition(".")[2]
