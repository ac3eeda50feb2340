"""Draws pictures with a pipeline in memory: in batches, each from noise of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evaluation.errors import EvaluationError
from evaluation.pictures.encoded_prompts import EncodedPrompts
from evaluation.pictures.flags import Pixels
from evaluation.pictures.sampler import Sampler

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

SAFETY_CHECKER = "safety_checker"
"""The component by which a pipeline of Stable Diffusion makes pictures black."""

_FAULTS = (TypeError, ValueError, AttributeError, LookupError, NotImplementedError)
"""What pipelines and schedulers raise where settings, or components, do not fit each other."""


_DENOISERS = ("unet", "transformer")


@dataclass(frozen=True)
class Drawing:
    """A picture to draw. seed: that of the generator of its noise."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class DrawnPicture:
    """A picture as bytes. finite: whether all its values were finite before; others are 0 here."""

    drawing: Drawing
    pixels: Pixels
    finite: bool


@dataclass
class _Steps:
    """The steps of a scheduler. drew: whether they drew noise with a generator that the pipeline did not hand on."""

    drew: bool = False


class Painter:
    """A pipeline in memory that draws what evaluation sets ask for (`WrappedModel`).

    noise_in_steps: whether a plain call of the pipeline would draw some of the noise with the process's own generator.
    batch_size: pictures drawn at once. A call for which they do not fit the device's memory goes on with fewer.
    Nothing that is wrapped round a pipeline to replace its pictures, as safety checkers do, is asked here.
    """

    def __init__(self, pipeline: DiffusionPipeline, device: str, batch_size: int) -> None:
        self.device = device
        self._batch_size = batch_size
        self.prompts = EncodedPrompts()
        self.noise_in_steps = False
        self.put(pipeline.to(device))

    def put(self, pipeline: DiffusionPipeline) -> None:
        """Draw with another pipeline from now on, of the same family and device; or with other weights of the same."""
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline
        self.prompts.put(pipeline)

    def check(self, sampler: Sampler) -> None:
        """Raise EvaluationError for settings that the pipeline does not take; nothing is drawn."""
        pipeline, parameters = type(self._pipeline).__name__, self.parameters
        if unknown := sorted(sampler.arguments.keys() - parameters.keys()):
            key = sampler.key_of(unknown[0])
            raise EvaluationError(f"{key}: {pipeline} has no argument {unknown[0]}; leave it out")
        given = {name: parameter.default for name, parameter in parameters.items()} | sampler.arguments
        given = {"callback_steps": 1} | given | {"prompt": "a picture"}
        checked = inspect.signature(self._pipeline.check_inputs).parameters
        try:
            self._pipeline.check_inputs(**{name: given[name] for name in checked if name in given})
        except _FAULTS as error:
            raise EvaluationError(f"sampler: {pipeline} does not take it: {' '.join(str(error).split())}") from error
        _make_scheduler(self._pipeline, sampler)

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Those of the pipeline's call."""
        return inspect.signature(self._pipeline.__call__).parameters

    def draft(self, sampler: Sampler, prompt: str) -> DrawnPicture:
        """A picture of which the denoiser ran once for all steps: enough to see whether it can be drawn at all.

        Raises EvaluationError if it cannot, and RuntimeError where shapes do not fit.
        """
        with _denoised_once(self._pipeline):
            ((drawn,),) = self.draw(sampler, [Drawing(prompt, 0)])
        return drawn

    def draw(self, sampler: Sampler, drawings: Sequence[Drawing]) -> Iterator[list[DrawnPicture]]:
        """The pictures, batch by batch, in their order. Raises EvaluationError if the pipeline cannot draw them."""
        waiting, size = list(drawings), self._batch_size
        with self._scheduled(sampler), _unchecked(self._pipeline), self.prompts.used():
            while waiting:
                batch = waiting[:size]
                try:
                    drawn = self._draw(sampler, batch)
                except torch.OutOfMemoryError:
                    if len(batch) == 1:
                        raise
                    size = len(batch) // 2  # in this call alone: what is drawn later must not depend on it
                    torch.cuda.empty_cache()
                    continue
                del waiting[: len(batch)]
                yield drawn

    def _draw(self, sampler: Sampler, batch: Sequence[Drawing]) -> list[DrawnPicture]:
        # On the CPU whatever the device: the same noise on every machine.
        noise = [torch.Generator("cpu").manual_seed(drawing.seed) for drawing in batch]
        arguments = _for_batch(sampler.arguments, len(batch))
        try:
            with _noise_for_steps(self._pipeline.scheduler, noise) as steps:
                drawn = self._pipeline(
                    prompt=[drawing.prompt for drawing in batch], generator=noise, output_type="np", **arguments
                ).images
        except _FAULTS as error:
            raise EvaluationError(
                f"{type(self._pipeline).__name__} cannot draw {batch[0].prompt[:60]!r}: {' '.join(str(error).split())}"
            ) from error
        self.noise_in_steps |= steps.drew
        if (drawn.shape[2], drawn.shape[1]) != sampler.size:
            raise EvaluationError(
                f"{type(self._pipeline).__name__} draws {drawn.shape[2]} × {drawn.shape[1]} pixels where "
                f"{sampler.width} × {sampler.height} are asked for; give a size that it can draw"
            )
        return [_as_bytes(drawing, values) for drawing, values in zip(batch, drawn, strict=True)]

    @contextmanager
    def _scheduled(self, sampler: Sampler) -> Iterator[None]:
        """Have the pipeline draw with the sampler's scheduler while the block runs."""
        pipeline = self._pipeline
        own = pipeline.scheduler
        pipeline.scheduler = _make_scheduler(pipeline, sampler)
        try:
            yield
        finally:
            pipeline.scheduler = own


def _make_scheduler(pipeline: DiffusionPipeline, sampler: Sampler) -> SchedulerMixin:
    """The sampler's scheduler, with the pipeline's settings where the sampler says nothing else."""
    import diffusers

    own = pipeline.scheduler
    if sampler.scheduler is None:
        return own  # made anew, it would lose what its pipeline has corrected in it
    given = dict(sampler.scheduler)
    name = str(given.pop("class", type(own).__name__))
    made: Any = type(own) if name == type(own).__name__ else getattr(diffusers, name, None)
    if not (isinstance(made, type) and issubclass(made, diffusers.SchedulerMixin)):
        raise EvaluationError(f"sampler.scheduler.class: got {name!r}: diffusers has no such scheduler")
    if unknown := sorted(given.keys() - inspect.signature(made).parameters.keys()):
        raise EvaluationError(f"sampler.scheduler.{unknown[0]}: {name} has no such setting; leave it out")
    try:
        scheduler: SchedulerMixin = made.from_config(own.config, **given)  # type: ignore[attr-defined]
    except _FAULTS as error:
        words = " ".join(str(error).split())[:200]
        raise EvaluationError(f"sampler.scheduler: {name} cannot be made with these settings ({words})") from error
    return scheduler


@contextmanager
def _noise_for_steps(scheduler: Any, noise: Sequence[torch.Generator]) -> Iterator[_Steps]:
    """Have a scheduler that adds noise in its steps draw it with these generators.

    Not every pipeline hands them on; without them the noise would be another one in every process.
    """
    steps, own = _Steps(), scheduler.step
    if "generator" not in inspect.signature(own).parameters:
        yield steps
        return

    @wraps(own)
    def step(*given: Any, **named: Any) -> Any:
        before = noise[0].get_state()
        made = own(*given, **{**named, "generator": noise})
        steps.drew |= named.get("generator") is None and not torch.equal(before, noise[0].get_state())
        return made

    scheduler.step = step
    try:
        yield steps
    finally:
        del scheduler.step


@contextmanager
def _unchecked(pipeline: Any) -> Iterator[None]:
    """Have a pipeline draw without its safety checker: black pictures would be judged in the place of its own."""
    checker = getattr(pipeline, SAFETY_CHECKER, None)
    if checker is None:
        yield
        return
    pipeline.register_modules(**{SAFETY_CHECKER: None})
    try:
        yield
    finally:
        pipeline.register_modules(**{SAFETY_CHECKER: checker})


@contextmanager
def _denoised_once(pipeline: DiffusionPipeline) -> Iterator[None]:
    """Have the denoiser give in all steps what it gave in the first one of as large a batch."""
    denoiser: Any = next(found for name in _DENOISERS if (found := getattr(pipeline, name, None)) is not None)
    run, known = denoiser.forward, {}

    def forward(*given: Any, **named: Any) -> Any:
        values = [*given, *named.values()]
        shapes = tuple(tuple(value.shape) for value in values if isinstance(value, torch.Tensor))
        if shapes not in known:
            known[shapes] = run(*given, **named)
        return known[shapes]

    denoiser.forward = forward
    try:
        yield
    finally:
        del denoiser.forward


def _for_batch(arguments: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Arguments of a call, with a negative prompt for each picture."""
    negative = arguments.get("negative_prompt")
    return {**arguments, "negative_prompt": [negative] * count} if negative is not None else dict(arguments)


def _as_bytes(drawing: Drawing, values: Any) -> DrawnPicture:
    """The picture that diffusers makes of values from 0 to 1, [height, width, 3]."""
    finite = bool(np.isfinite(values).all())
    known = values if finite else np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return DrawnPicture(drawing, (known * 255).round().astype(np.uint8), finite)
