"""The report items with pictures that a card shows, chosen by their order alone, and the files of their pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator

from bot.release.card.example import DRAWN_EXAMPLE, skills_by_lead
from bot.release.card.facts import ShownAnswer, ShownFacts
from bot.release.card.gallery import gallery_files
from bot.release.card.picture_facts import PICTURES_FOLDER
from bot.release.results import CycleResults, ShownItem, SplitResults
from bot.search.results import BaselineKind
from evaluation.eval_set import EvalItem

SHOWN_ITEMS = 3
SHOWN_SIDE = 512
"""Pixels of the longer side of a shown picture, at most: the page shows it smaller still."""


def choose_shown_items(report: SplitResults, digest: str) -> tuple[EvalItem, ...]:
    """The first report items with pictures of the skill with the largest lead; none where no task has pictures.

    The split's order was drawn by its seed: nobody's answers decide which items these are.
    """
    with_pictures = {(task.skill, task.key) for task in report.eval_set.tasks if task.has_pictures}
    for skill in skills_by_lead(report, digest):
        items = [item for item in report.eval_set.items if item.skill == skill and (skill, item.task) in with_pictures]
        if items:
            distinct = {item.item: item for item in reversed(items)}  # two metrics may use one item
            return tuple(reversed(distinct.values()))[:SHOWN_ITEMS]
    return ()


def shown_facts(items: tuple[ShownItem, ...]) -> tuple[ShownFacts, ...]:
    """What the card shows of these items."""
    return tuple(
        ShownFacts(
            skill=one.question.skill,
            prompt=one.question.prompt.strip(),
            expected=one.question.expected,
            pictures=tuple(_name(number, picture) for picture, _ in enumerate(one.question.pictures, 1)),
            answers=tuple(
                ShownAnswer(None if kind is BaselineKind.RELEASE else name, kind, answer)
                for name, kind, answer in one.answers
            ),
        )
        for number, one in enumerate(items, 1)
    )


def picture_files(results: CycleResults, digest: str, repo: str) -> dict[str, bytes]:
    """The pictures that the card of a release for this repo shows: PNG files by their paths in it."""
    return dict(_picture_files(results, digest, repo))


def _picture_files(results: CycleResults, digest: str, repo: str) -> Iterator[tuple[str, bytes]]:
    sample = results.samples.get(digest)
    for number, content in enumerate(sample.question.pictures if sample else (), 1):
        yield f"{PICTURES_FOLDER}/example-{number}.png", content  # as it is: the card's code asks about it
    if sample and sample.pictures:
        yield DRAWN_EXAMPLE, sample.pictures[0]  # as it is: the card's code draws it
    if gallery := results.galleries.get(digest):
        yield from gallery_files(gallery, repo)
    for item, one in enumerate(results.shown.get(digest, ()), 1):
        for number, content in enumerate(one.question.pictures, 1):
            yield _name(item, number), _shrink(content)


def _name(item: int, picture: int) -> str:
    return f"{PICTURES_FOLDER}/{item}-{picture}.png"


def _shrink(content: bytes) -> bytes:
    from PIL import Image

    from evaluation.picture import encode_png

    image = Image.open(io.BytesIO(content))
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return encode_png(image)
