"""Measures models that draw in steps, and that have no fewer layers than they have: pipelines.

A pipeline of the pool's settings with random weights is rewritten, and draws a sample of the items in one step and in a
few. Time grows linearly with the steps, so two numbers give the time of any. Judges with random weights judge noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import mean

from bot.cycle.probe.random_models import RandomPipeline, random_judges, random_pipeline
from bot.cycle.probe.timing import LinearTime, MeasuredSpeed, item_seconds, measure_seconds
from bot.cycle.probe.trial import try_drawing
from bot.hub.client import Hub
from bot.hub.judges import JudgeModel
from bot.hub.pool.pool import Pool
from bot.scoring.resources import Resources
from bot.search.strategies.strategy import SearchedDrawing, SearchStrategy
from evaluation.eval_set import EvalSet, OwnDrawing
from evaluation.splits import Split
from evaluation.suites import TaskSuite, WrappedModel
from merging.recipes.weight_merge import WeightMerge

STEPS = (1, 3)
"""The numbers of steps that are measured."""


def measure_steps(
    hub: Hub,
    pool: Pool,
    strategy: SearchStrategy,
    resources: Resources,
    suite: TaskSuite,
    judges: Sequence[JudgeModel],
) -> MeasuredSpeed | None:
    """As `measure_speed`. Raises as `try_drawing` for tasks that cannot be drawn."""
    with random_pipeline(hub, pool, strategy, resources, suite) as pipeline:
        if pipeline is None:
            return None
        try_drawing(suite, pipeline.model, strategy.drawing)
        build = _build_seconds(pipeline)
        sets = {split: suite.build(split, pipeline.processor, ()) for split in (Split.SEARCH, Split.VALIDATION)}
        times = {split: _drawing_seconds(one, pipeline.model, strategy.drawing) for split, one in sets.items()}
        processor = pipeline.processor
    judging = _judging_seconds(hub, judges, resources, suite, processor)
    if judging is None:
        return None
    # Pictures of the report split are taken to be drawn as those of the validation split; its judges are its own.
    times[Split.REPORT] = times[Split.VALIDATION]
    own, searched = ({split: times[split][place] + judging[split] for split in Split} for place in (0, 1))
    return MeasuredSpeed(build, own, searched)


def _drawing_seconds(
    eval_set: EvalSet[WrappedModel], model: WrappedModel, drawing: SearchedDrawing
) -> tuple[float, float]:
    """Seconds in which an item is drawn as tasks say, and in the mean of the steps and sizes that are searched."""
    most = max(drawing.steps, default=None)
    lines = {size: _line(eval_set.drawn_in(OwnDrawing(most, size)), model) for size in (None, *drawing.sizes)}
    steps = mean(drawing.steps) if drawing.steps else eval_set.steps
    return lines[None].at(eval_set.steps), mean(lines[size].at(steps) for size in drawing.sizes or (None,))


def _line(whole: EvalSet[WrappedModel], model: WrappedModel) -> LinearTime:
    shorter = map(whole.shortened, STEPS)
    return LinearTime.through({one.steps: item_seconds(one, lambda sample: sample.score(model)) for one in shorter})


def _judging_seconds(
    hub: Hub, judges: Sequence[JudgeModel], resources: Resources, suite: TaskSuite, processor: object
) -> dict[Split, float] | None:
    """Seconds in which a picture is judged; None where there is too little room for the judges."""
    device, batch = resources.device, resources.batch_size
    with random_judges(hub, judges, resources) as folders:
        if folders is None:
            return None
        judged = suite.judged_at_random(folders)
        found = {}
        for split in Split:
            eval_set = judged.build(split, processor, ())
            eval_set.sample(1 / len(eval_set.items)).judge_noise(device, batch)  # opens them
            found[split] = item_seconds(eval_set, lambda sample: sample.judge_noise(device, batch))
        return found


def _build_seconds(pipeline: RandomPipeline) -> float:
    """Seconds in which every weight that candidates merge is rewritten; leaves the merge in the model."""
    recipe, live = pipeline.recipe, pipeline.live
    other = WeightMerge.single(recipe.sources[-1], recipe.groups, recipe.dtype, carrier=recipe.carrier)
    return measure_seconds(partial(recipe.live_model, live), before=partial(other.live_model, live))
