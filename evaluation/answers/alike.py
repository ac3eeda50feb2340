"""Pictures that are like those of other subjects: decided over all pictures that a model drew for a task.

So it does not matter in which rounds, or in how many cycles, they were drawn. Imports nothing heavy.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evaluation.answers.degenerate import EQUAL, FINE
from evaluation.scores import ItemScore

LEAST_DIFFERENCE = 0.5
"""Mean difference of thumbnails, in levels of 255, below which pictures are equal."""


def make_sketch(thumbnail: NDArray[np.uint8], subject: str) -> str:
    """The text by which a picture is compared with others of its size. subject: id of what it is about."""
    return f"{subject} {base64.b64encode(thumbnail.tobytes()).decode()}"


def flag_alike(scores: Sequence[ItemScore]) -> tuple[ItemScore, ...]:
    """The scores of a whole set, with the flag "equal" for each picture that is like one of another subject.

    Prompts in two languages that say the same may well be drawn alike. The sketches are left out.
    """
    of_tasks: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, score in enumerate(scores):
        if score.sketch is not None:
            of_tasks[score.skill, score.task].append(place)
    alike = {place for places in of_tasks.values() for place in _find_alike(scores, places)}
    return tuple(
        score if score.sketch is None else replace(score, flag=EQUAL if place in alike else score.flag, sketch=None)
        for place, score in enumerate(scores)
    )


def _find_alike(scores: Sequence[ItemScore], places: Sequence[int]) -> list[int]:
    """Which of some pictures of one size are like one of another subject, of those that are fine by themselves."""
    subjects, thumbnails = zip(*((scores[place].sketch or "").split() for place in places), strict=True)
    table = np.stack([np.frombuffer(base64.b64decode(one), np.uint8) for one in thumbnails]).astype(np.int16)
    about = np.array(subjects)
    near = (np.abs(table - row).mean(axis=1) < LEAST_DIFFERENCE for row in table)
    return [
        place
        for place, subject, others in zip(places, subjects, near, strict=True)
        if scores[place].flag == FINE and (others & (about != subject)).any()
    ]
