"""Facts about the pictures of a task: how they are drawn and judged, and how many are degenerate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from bot.release.card.picture_facts import DrawnFacts, JudgeFacts, PictureCounts
from evaluation.answers.degenerate import EQUAL, FLAT, NOT_FINITE, SATURATED
from evaluation.eval_set import DrawnTask, JudgeDescription
from evaluation.pictures.judges.judge import JudgeRepo

Licences = Mapping[JudgeRepo, str | None]
"""The licence that the card of each judge's repo declares."""

NO_LICENCES: Licences = MappingProxyType({})

_ARGUMENTS = ("width", "height", "num_inference_steps", "guidance_scale", "negative_prompt")
"""Arguments of a pipeline's call that have words of their own."""


def drawn_facts(task: DrawnTask, flags: Sequence[str | None], licences: Licences = NO_LICENCES) -> DrawnFacts:
    """How a task's pictures are drawn and judged. flags: of a model's pictures."""
    found = Counter(flags)
    return DrawnFacts(
        how=", ".join(_describe_drawing(task)),
        judge=_judge_facts(task.judge, licences),
        report_judge=_judge_facts(task.report_judge, licences),
        counts=PictureCounts(len(flags), *(found[fault] for fault in (FLAT, SATURATED, EQUAL, NOT_FINITE))),
    )


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
