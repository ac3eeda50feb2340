"""An evaluation set of pictures: all items of one split, drawn by one model after the other, and judged."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from evaluation.answers.alike import make_sketch
from evaluation.errors import EvaluationError
from evaluation.eval_set import EvalItem, OwnDrawing
from evaluation.fingerprint import digest
from evaluation.pictures.drawing import Drawing, DrawnPicture, Painter
from evaluation.pictures.flags import flag_picture, make_thumbnail
from evaluation.pictures.judges.opened import JudgeDesk
from evaluation.pictures.rows import PictureItem
from evaluation.pictures.sampler import Sampler
from evaluation.racing.decisions import count_rounds, round_ends
from evaluation.scores import ItemScore


@dataclass(frozen=True)
class PictureUse:
    """One metric of a task, as a skill uses it. key: `SkillTask.key`. digest: of all that decides an item's score
    besides the weights and the item."""

    skill: str
    key: str
    metric: str
    digest: str


@dataclass(frozen=True)
class PictureRequests:
    """The items of one task, how they are drawn and judged, and what their numbers are used for.

    later: the judge of the report, to be tried before the search.
    """

    task: str
    sampler: Sampler
    judge: JudgeDesk
    items: tuple[PictureItem, ...]
    uses: tuple[PictureUse, ...]
    later: JudgeDesk | None = None

    @property
    def drawings(self) -> list[Drawing]:
        """What is drawn, in the order of the items."""
        return [Drawing(item.prompt, item.seed) for item in self.items]


@dataclass(frozen=True)
class _Judged:
    """A picture's numbers by metric, its own flag, and that by which it is compared with others."""

    values: Mapping[str, float]
    flag: str
    sketch: str


@dataclass(frozen=True)
class PictureEvalSet:
    """An evaluation set (`evaluation.eval_set.EvalSet`) that asks models wrapped as a `Painter`.

    judged: whether its pictures are judged; otherwise each has the number 0.
    """

    tasks: tuple[PictureRequests, ...]
    digest: str
    cost: float = 1.0
    judged: bool = True

    @classmethod
    def of(cls, tasks: Sequence[PictureRequests]) -> PictureEvalSet:
        """The set of these items."""
        content = [
            [[use.skill, use.key, use.digest, [item.item for item in task.items]] for use in task.uses]
            for task in tasks
        ]
        return cls(tuple(tasks), digest(content))

    @property
    def items(self) -> tuple[EvalItem, ...]:
        """The items of each use of a task, one use after the other."""
        return tuple(
            EvalItem(use.skill, use.key, use.digest, item.item)
            for task in self.tasks
            for use in task.uses
            for item in task.items
        )

    def rounds(self, count: int, model: Painter) -> tuple[PictureEvalSet, ...]:
        """At most `count` sets that together have every item once; see `LmEvalSet.rounds`.

        Raises EvaluationError if the model does not take a task's settings, or a judge cannot be used.
        """
        for task in self.tasks:
            try:
                model.check(task.sampler)
                task.judge.open(model.device)
                if task.later is not None:
                    task.later.try_out(model.device)
            except EvaluationError as error:
                raise EvaluationError(f"task {task.task}: {error}") from error
        number = count_rounds([len(task.items) for task in self.tasks], count)
        ends = [(0, *round_ends(len(task.items), number)) for task in self.tasks]
        rounds = [self._part([slice(*end[place : place + 2]) for end in ends]) for place in range(number)]
        costs = [sum(task.sampler.cost * len(task.items) for task in one.tasks) for one in rounds]
        return tuple(replace(one, cost=cost / sum(costs)) for one, cost in zip(rounds, costs, strict=True))

    def drawn_in(self, own: OwnDrawing) -> PictureEvalSet:
        """The same items, drawn in steps, or in a size, of the model's own. The digest stays that of the tasks."""
        drawn = [replace(task, sampler=task.sampler.drawn_in(own)) for task in self.tasks]
        return replace(self, tasks=tuple(drawn))

    def sample(self, share: float) -> PictureEvalSet:
        """The first items of every task, about this share of them, and at least one."""
        return self._part([slice(math.ceil(share * len(task.items))) for task in self.tasks])

    def _part(self, spans: Sequence[slice]) -> PictureEvalSet:
        tasks = [replace(task, items=task.items[span]) for task, span in zip(self.tasks, spans, strict=True)]
        return replace(self.of(tasks), judged=self.judged)

    @property
    def steps(self) -> float:
        """The mean of the samplers' steps, by items."""
        steps = [task.sampler.steps for task in self.tasks for _ in task.items]
        return sum(steps) / len(steps)

    def shortened(self, most: int) -> PictureEvalSet:
        """The same pictures in so many steps at most, unjudged: each has the number 0."""
        tasks = [
            replace(task, sampler=replace(task.sampler, steps=min(most, task.sampler.steps))) for task in self.tasks
        ]
        return replace(self.of(tasks), judged=False)

    def judge_noise(self, device: str, batch_size: int) -> None:
        """Each task's judge judges a picture of noise for each of its items; what it says does not matter."""
        for task in self.tasks:
            width, height = task.sampler.size
            noise = np.random.default_rng(0).integers(0, 256, (batch_size, height, width, 3), dtype=np.uint8)
            for start in range(0, len(task.items), batch_size):
                rows = [item.row for item in task.items[start : start + batch_size]]
                with suppress(EvaluationError):  # of random weights, a judge may give no number
                    task.judge.open(device).judge(list(map(Image.fromarray, noise[: len(rows)])), rows)

    def score(self, model: Painter) -> tuple[ItemScore, ...]:
        """Scores of a model in the order of `items`.

        A picture that several tasks ask for, with one sampler, is drawn once. Raises EvaluationError if the pipeline
        cannot draw, or a judge gives no number.
        """
        judged: dict[tuple[int, str], _Judged] = {}
        for numbers in self._by_sampler():
            judged |= self._draw_and_judge(model, numbers)
        return tuple(score for number, task in enumerate(self.tasks) for score in _scores(task, number, judged))

    def _by_sampler(self) -> list[list[int]]:
        """Numbers of the tasks that draw with the same settings."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, task in enumerate(self.tasks):
            found[task.sampler.key].append(number)
        return list(found.values())

    def _draw_and_judge(self, model: Painter, numbers: Sequence[int]) -> dict[tuple[int, str], _Judged]:
        wanted: dict[Drawing, list[tuple[int, PictureItem]]] = defaultdict(list)
        for number in numbers:
            for drawing, item in zip(self.tasks[number].drawings, self.tasks[number].items, strict=True):
                wanted[drawing].append((number, item))
        judged: dict[tuple[int, str], _Judged] = {}
        for batch in model.draw(self.tasks[numbers[0]].sampler, list(wanted)):
            for number in numbers:
                asked = [(one, item) for one in batch for place, item in wanted[one.drawing] if place == number]
                judged |= {(number, item): found for item, found in self._judge(number, asked, model.device)}
        return judged

    def _judge(
        self, number: int, asked: Sequence[tuple[DrawnPicture, PictureItem]], device: str
    ) -> Iterator[tuple[str, _Judged]]:
        """Judge some pictures for a task."""
        if not asked:
            return
        task = self.tasks[number]
        pictures = [Image.fromarray(drawn.pixels) for drawn, _ in asked]
        values: Sequence[Mapping[str, float]] = [{use.metric: 0.0 for use in task.uses}] * len(asked)
        try:
            if self.judged:
                values = task.judge.open(device).judge(pictures, [item.row for _, item in asked])
        except EvaluationError as error:
            raise EvaluationError(f"task {task.task}: {error}") from error
        for (drawn, item), found in zip(asked, values, strict=True):
            flag = flag_picture(drawn.pixels, finite=drawn.finite)
            yield item.item, _Judged(found, flag, make_sketch(make_thumbnail(drawn.pixels), item.subject))


def _scores(task: PictureRequests, number: int, judged: Mapping[tuple[int, str], _Judged]) -> Iterator[ItemScore]:
    """The scores of a task's items, use by use."""
    for use in task.uses:
        for item in task.items:
            one = judged[number, item.item]
            yield ItemScore(use.skill, use.key, item.item, _number(one.values, use, task, item), one.flag, one.sketch)


def _number(values: Mapping[str, float], use: PictureUse, task: PictureRequests, item: PictureItem) -> float:
    value = values.get(use.metric)
    if value is None or not math.isfinite(value):
        given = "nothing" if value is None else str(value)
        raise EvaluationError(
            f"task {task.task}: {task.judge.settings.description} gives {given} for {use.metric} of the picture of "
            f"{item.prompt[:60]!r}, not a number"
        )
    return value
