"""Chooses the report items that show best what a release can do and its sources cannot."""

from __future__ import annotations

from dataclasses import dataclass

from bot.release.card.facts import ExampleFacts
from bot.release.card.picture_facts import PICTURES_FOLDER
from bot.release.results import SplitResults
from bot.scoring.evaluator import Evaluation
from bot.search.results import BaselineKind
from evaluation.eval_set import EvalItem, Sample

DRAWN_EXAMPLE = f"{PICTURES_FOLDER}/example.png"
"""The picture that the card's code draws."""


@dataclass(frozen=True)
class ExampleItems:
    """Report items of one skill; `rival` scored lower on each of them than the release (None: chosen without one)."""

    skill: str
    rival: str | None
    items: tuple[EvalItem, ...]


@dataclass(frozen=True)
class _Rival:
    """A merged model with its scores on the report split."""

    name: str
    evaluation: Evaluation


def choose_example_items(report: SplitResults, digest: str, *, with_pictures: bool = True) -> ExampleItems:
    """Choose the items that show a release's new ability, by the scores on the report split.

    The skill is the one with the largest lead over the strongest of the merged models; the items are those on which
    the release scored higher than that model. A skill without such an item gives way to the next; if no skill has any,
    all items of the first skill are taken. digest: that of the release's recipe. with_pictures: whether items of tasks
    with pictures may be chosen, whose pictures would be files of the release; without them there may be no item.
    """
    shown = {(task.skill, task.key) for task in report.eval_set.tasks if task.has_pictures}
    hidden = set() if with_pictures else shown
    for _, skill, rival in sorted(_rivals(report, digest), key=lambda one: -one[0]):
        items = _better_items(report, skill, report.merges[digest], rival)
        if better := tuple(item for item in items if (skill, item.task) not in hidden):
            return ExampleItems(skill, rival.name, better)
    items = tuple(item for item in report.eval_set.items if (item.skill, item.task) not in hidden)
    first = items[0].skill if items else report.skills[0].name
    return ExampleItems(first, None, tuple(item for item in items if item.skill == first))


def skills_by_lead(report: SplitResults, digest: str) -> list[str]:
    """The skills, that with the release's largest lead over the strongest of the merged models first."""
    return [skill for _, skill, _ in sorted(_rivals(report, digest), key=lambda one: -one[0])]


def _rivals(report: SplitResults, digest: str) -> list[tuple[float, str, _Rival]]:
    """The release's lead over the strongest merged model of each skill, the skill, and that model."""
    merged = [
        (_Rival(baseline.name, evaluation), scores.intervals)
        for (baseline, scores), (_, evaluation) in zip(report.baseline_scores(), report.baselines, strict=True)
        if baseline.kind in (BaselineKind.SOURCE, BaselineKind.BASE)
    ]
    own = report.merge_scores(digest)
    if own is None:
        return []
    found = []
    for column, (skill, score) in enumerate(zip(report.skills, own.intervals, strict=True)):
        means = [intervals[column].mean for _, intervals in merged]
        strongest = merged[means.index(max(means))][0]
        found.append((score.mean - max(means), skill.name, strongest))
    return found


def _better_items(report: SplitResults, skill: str, own: Evaluation, rival: _Rival) -> tuple[EvalItem, ...]:
    signs = {task: 1 if higher_is_better else -1 for task, higher_is_better in report.eval_set.directions}
    return tuple(
        item
        for item, mine, theirs in zip(report.eval_set.items, own.scores, rival.evaluation.scores, strict=True)
        if item.skill == skill and signs[item.task] * (mine.value - theirs.value) > 0
    )


def example_facts(chosen: ExampleItems, sample: Sample) -> ExampleFacts:
    """What the card shows of a release's answer to one of its example items."""
    question = sample.question
    return ExampleFacts(
        skill=chosen.skill,
        rival=chosen.rival,
        prompt=question.prompt,
        expected=question.expected,
        num_fewshot=question.num_fewshot,
        chat_template=question.chat_template,
        max_tokens=question.max_tokens,
        answer=sample.answer,
        pictures=tuple(f"{PICTURES_FOLDER}/example-{number}.png" for number, _ in enumerate(question.pictures, 1)),
        drawing=question.drawing,
        picture=DRAWN_EXAMPLE if sample.pictures else None,
    )
