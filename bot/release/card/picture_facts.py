"""The facts of a card about pictures: how they were drawn and judged, and the grid that shows some of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from bot.search.results import BaselineKind
from evaluation.answers.degenerate import EQUAL, FLAT, NOT_FINITE, SATURATED
from evaluation.eval_set import AS_TASKS_SAY, DrawnTask, JudgeDescription, OwnDrawing
from evaluation.pictures.judges.judge import JudgeRepo
from evaluation.pictures.sampler import scale_sides

PICTURES_FOLDER = "pictures"
"""Folder of a release in which the pictures that its card shows are."""

GRID_FILE = f"{PICTURES_FOLDER}/grid.png"

Licences = Mapping[JudgeRepo, str | None]
"""The licence that the card of each judge's repo declares."""

NO_LICENCES: Licences = MappingProxyType({})

_ARGUMENTS = ("width", "height", "num_inference_steps", "guidance_scale", "negative_prompt")
"""Arguments of a pipeline's call that have words of their own."""


@dataclass(frozen=True)
class JudgeFacts:
    """What gives pictures numbers. words: it in a few words. repo, sha: of its model, None for a rule. licence: the one
    that the repo's card declares; None where it declares none, or there is no repo."""

    words: str
    repo: str | None = None
    sha: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class PictureCounts:
    """The number of pictures of a release, and of those that are degenerate: flat, saturated, equal to that of another
    prompt, or not finite."""

    drawn: int
    flat: int
    saturated: int
    equal: int
    not_finite: int


@dataclass(frozen=True)
class DrawnFacts:
    """How a task's pictures are drawn, in words, and judged.

    judge: that of the search and of the gate. report_judge: that of the report split, perhaps the same. counts: of a
    release's pictures on the report split; None where no release is meant.
    """

    how: str
    judge: JudgeFacts
    report_judge: JudgeFacts
    counts: PictureCounts | None = None


@dataclass(frozen=True)
class GridColumn:
    """A model in the grid. name: a baseline's; None for the release itself."""

    name: str | None
    kind: BaselineKind

    @property
    def repo(self) -> str | None:
        """Its repo; None for the release, and for a plain merge, which was never published."""
        return None if self.kind is BaselineKind.PLAIN else self.name


@dataclass(frozen=True)
class GridCell:
    """A picture in the grid. scores: by the report's judge, in each metric's own unit, as `GridRow.asked` has them.
    fault: why it is degenerate; "" if it is not. drawn: whether it could be drawn again for the grid."""

    scores: tuple[float, ...]
    fault: str
    drawn: bool


@dataclass(frozen=True)
class GridRow:
    """A report item in the grid. asked: (skill, metric) of each score; several may be of one picture. picture: the
    release's file with its own picture. negative: the negative prompt; "" for none. cells: one a column."""

    asked: tuple[tuple[str, str], ...]
    prompt: str
    negative: str
    seed: int
    picture: str
    cells: tuple[GridCell, ...]

    @property
    def graded(self) -> bool:
        """Whether its scores are more than right or wrong."""
        return any(score not in (0, 1) for cell in self.cells for score in cell.scores)


@dataclass(frozen=True)
class GridFacts:
    """Report items as several models draw them. picture: the release's file with the grid."""

    picture: str
    columns: tuple[GridColumn, ...]
    rows: tuple[GridRow, ...]

    @property
    def skills(self) -> tuple[str, ...]:
        """The skills whose items these are, each once."""
        return tuple(dict.fromkeys(skill for row in self.rows for skill, _ in row.asked))

    @property
    def several(self) -> bool:
        """Whether a picture has more than one score."""
        return any(len(row.asked) > 1 for row in self.rows)


@dataclass(frozen=True)
class Effort:
    """The numbers of steps and the sizes (width, height) of the pictures of some tasks, each once; empty for what the
    search did not choose."""

    steps: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class EffortFacts:
    """What a release draws in, found by the search. tasks: what they say, and all other models of its card draw in.
    cost: of a picture beside theirs, in steps × pixels."""

    own: Effort
    tasks: Effort
    cost: float


def effort_facts(own: OwnDrawing, tasks: Sequence[DrawnTask]) -> EffortFacts | None:
    """The facts of a release's steps and sizes; None where they are the tasks' own."""
    if own == AS_TASKS_SAY or not tasks:
        return None
    its, theirs = ([_drawn_in(task, drawing) for task in tasks] for drawing in (own, AS_TASKS_SAY))
    return EffortFacts(_effort(its, own), _effort(theirs, own), _cost(its) / _cost(theirs))


def _effort(tasks: Sequence[DrawnTask], searched: OwnDrawing) -> Effort:
    steps = dict.fromkeys(map(_steps_of, tasks)) if searched.steps else ()
    return Effort(tuple(steps), tuple(dict.fromkeys(map(_size_of, tasks)) if searched.size else ()))


def _cost(tasks: Sequence[DrawnTask]) -> int:
    return sum(_steps_of(task) * math.prod(_size_of(task)) for task in tasks)


def _steps_of(task: DrawnTask) -> int:
    return int(str(task.arguments["num_inference_steps"]))


def _size_of(task: DrawnTask) -> tuple[int, int]:
    return int(str(task.arguments["width"])), int(str(task.arguments["height"]))


def _drawn_in(task: DrawnTask, own: OwnDrawing) -> DrawnTask:
    """A task whose pictures are drawn in steps, or in a size, of a model's own."""
    changed = {} if own.steps is None else {"num_inference_steps": own.steps}
    if own.size is not None:
        width, height = scale_sides(*_size_of(task), own.size)
        changed |= {"width": width, "height": height}
    return replace(task, arguments={**task.arguments, **changed})


def drawn_facts(
    task: DrawnTask,
    licences: Licences = NO_LICENCES,
    counts: PictureCounts | None = None,
    own: OwnDrawing = AS_TASKS_SAY,
) -> DrawnFacts:
    """How a task's pictures are drawn and judged. own: what a model draws in otherwise."""
    return DrawnFacts(
        how=", ".join(_describe_drawing(_drawn_in(task, own))),
        judge=_judge_facts(task.judge, licences),
        report_judge=_judge_facts(task.report_judge, licences),
        counts=counts,
    )


def group_alike(
    uses: Iterable[tuple[str, str, str, DrawnFacts]],
) -> list[tuple[list[tuple[str, str, str]], DrawnFacts]]:
    """Uses of tasks (skill, task, metric), those together whose pictures are drawn and judged alike."""
    found: dict[DrawnFacts, list[tuple[str, str, str]]] = {}
    for skill, task, metric, drawn in uses:
        found.setdefault(replace(drawn, counts=None), []).append((skill, task, metric))
    return [(alike, drawn) for drawn, alike in found.items()]


def count_pictures(flags: Sequence[str | None]) -> PictureCounts:
    """The number of pictures, and of those with each fault."""
    found = Counter(flags)
    return PictureCounts(len(flags), *(found[fault] for fault in (FLAT, SATURATED, EQUAL, NOT_FINITE)))


def _describe_drawing(task: DrawnTask) -> Iterator[str]:
    """The sampler's settings in words, one after the other."""
    given = task.arguments
    steps = given["num_inference_steps"]
    yield f"{given['width']} × {given['height']} pixels"
    yield f"{steps} step{'' if steps == 1 else 's'}"
    yield f"guidance {given['guidance_scale']:g}"
    if task.scheduler is None:
        yield "the pipeline's own scheduler"
    else:
        changed = ", ".join(f"{name} {value}" for name, value in task.scheduler.items() if name != "class")
        yield f"{task.scheduler['class']}{changed and f' ({changed})'}"
    if given.get("negative_prompt"):
        yield f"negative prompt “{given['negative_prompt']}”"
    yield from (f"{name} {value}" for name, value in given.items() if name not in _ARGUMENTS)


def _judge_facts(judge: JudgeDescription, licences: Licences) -> JudgeFacts:
    if judge.repo is None or judge.revision is None:
        return JudgeFacts(judge.words)
    return JudgeFacts(judge.words, judge.repo, judge.revision, licences.get(JudgeRepo(judge.repo, judge.revision)))
