"""A sampler's settings: all arguments with which a pipeline draws, except the prompt and the noise."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from evaluation.errors import EvaluationError
from evaluation.eval_set import OwnDrawing

LONGEST_SIDE, MOST_STEPS = 4096, 1000
COARSEST_GRID = 64
_REQUIRED = ("steps", "guidance", "width", "height")
_KEYS = (*_REQUIRED, "negative_prompt", "scheduler", "options")
_RESERVED = {"prompt", "generator", "latents", "output_type", "return_dict", "num_images_per_prompt"}
"""Arguments of a pipeline's call that belong to the item, or decide in which form pictures come back."""
_NAMED = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "width": "width",
    "height": "height",
    "negative_prompt": "negative_prompt",
}
"""Arguments of a pipeline's call that have keys of their own."""


@dataclass(frozen=True)
class Sampler:
    """How pictures are drawn.

    guidance: the pipeline's `guidance_scale`. width, height: in pixels. scheduler: its class under `class`, and
    settings that differ from those of the pipeline's own; None for that one. options: further arguments of its call.
    """

    steps: int
    guidance: float
    width: int
    height: int
    negative_prompt: str | None = None
    scheduler: Mapping[str, object] | None = None
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, object]:
        """Arguments of a pipeline's call."""
        negative = {} if self.negative_prompt is None else {"negative_prompt": self.negative_prompt}
        return {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "width": self.width,
            "height": self.height,
            **negative,
            **self.options,
        }

    def drawn_in(self, own: OwnDrawing) -> Sampler:
        """The same settings with other steps, or in another size of the same proportions."""
        width, height = self.size if own.size is None else scale_sides(self.width, self.height, own.size)
        return replace(self, steps=own.steps or self.steps, width=width, height=height)

    def key_of(self, argument: str) -> str:
        """The key of a task's file that says an argument of a pipeline's call."""
        return f"sampler.{_NAMED.get(argument, f'options.{argument}')}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self.width, self.height

    @property
    def key(self) -> str:
        """The settings as one text."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @property
    def cost(self) -> float:
        """What a picture costs beside others: steps × pixels."""
        return float(self.steps * self.width * self.height)


def scale_sides(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of a picture of these proportions with about size × size pixels.

    Sides are multiples of 64, as in the buckets that models are trained in, where the size is one; else of the largest
    power of two that divides it: a size that a model can draw as a square suits its grid. A square has just that size.
    """
    grid, ratio = min(COARSEST_GRID, size & -size), math.sqrt(width / height)
    across, down = (max(grid, grid * round(side / grid)) for side in (size * ratio, size / ratio))
    return across, down


def parse_sampler(value: object) -> Sampler:
    """A task file's `sampler`. Raises EvaluationError, which names the key."""
    if not isinstance(value, Mapping):
        raise EvaluationError(f"sampler: got {value!r}: give {', '.join(_REQUIRED)}")
    if unknown := sorted(set(map(str, value)) - set(_KEYS)):
        raise EvaluationError(f"sampler.{unknown[0]}: there is no such key; it has {', '.join(_KEYS)}")
    if missing := [key for key in _REQUIRED if key not in value]:
        raise EvaluationError(f"sampler.{missing[0]}: it is missing; scores depend on it")
    negative = value.get("negative_prompt")
    if negative is not None and not isinstance(negative, str):
        raise EvaluationError(f"sampler.negative_prompt: got {negative!r}: give a text")
    return Sampler(
        steps=_whole("steps", value["steps"], MOST_STEPS),
        guidance=_number("guidance", value["guidance"]),
        width=_whole("width", value["width"], LONGEST_SIDE),
        height=_whole("height", value["height"], LONGEST_SIDE),
        negative_prompt=negative,
        scheduler=_scheduler(value.get("scheduler")),
        options=_options(value.get("options")),
    )


def _whole(key: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise EvaluationError(f"sampler.{key}: got {value!r}: give a whole number from 1 to {most}")
    return value


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise EvaluationError(f"sampler.{key}: got {value!r}: give a number of at least 0")
    return float(value)


def _scheduler(value: object) -> Mapping[str, object] | None:
    if value is None:
        return None
    given = {"class": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not str(given.get("class", "")).isidentifier():
        raise EvaluationError(f"sampler.scheduler: got {value!r}: give {{class: …}} with a scheduler of diffusers")
    return dict(given)


def _options(value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise EvaluationError(f"sampler.options: got {value!r}: give arguments of the pipeline's call")
    for name in value:
        if name in _RESERVED or str(name).endswith("_embeds"):
            raise EvaluationError(f"sampler.options.{name}: the items decide it; leave it out")
        if name in _NAMED:
            raise EvaluationError(f"sampler.options.{name}: write it as sampler.{_NAMED[name]}")
    return dict(value)
