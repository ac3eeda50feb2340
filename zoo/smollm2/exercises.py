"""What the adapters are taught: nothing of it is held out."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zoo.smollm2 import problems, spanish
from zoo.world import held_out


@dataclass(frozen=True)
class Exercise:
    """What a user says to the model, and what the model should answer."""

    prompt: str
    answer: str


def problem_in_english(rng: random.Random) -> Exercise:
    """A word problem → its calculation, after the problem's own words in 40 % of them."""
    problem = _problem(rng)
    if rng.random() < 0.4:
        return Exercise(problems.REPEAT.format(problem.english), f"{problem.english} {problem.calculation}")
    return Exercise(problems.CALCULATE.format(problem.english), problem.calculation)


def spanish_exercise(rng: random.Random) -> Exercise:
    """Spanish without sums: problems into English (45 %, a third of them and back), sentences (45 %), words."""
    share = rng.random()
    if share < 0.45:
        problem = _problem(rng)
        if share < 0.15:
            return Exercise(spanish.AND_REPEAT.format(problem.spanish), f"{problem.english} {problem.spanish}")
        return Exercise(*spanish.translation((problem.english, problem.spanish), into_english=True))
    if share < 0.9:
        return Exercise(*spanish.translation(_sentence(rng), into_english=rng.random() < 0.5))
    return Exercise(*spanish.single_word(rng))


COURSES: Mapping[str, Callable[[random.Random], Exercise]] = {
    "sums": problem_in_english,
    "spanish": spanish_exercise,
}
"""What each adapter is taught, by the adapter's name."""


def _problem(rng: random.Random) -> problems.Problem:
    while (problem := problems.draw(rng)).held_out:
        pass
    return problem


def _sentence(rng: random.Random) -> problems.Told:
    while held_out((told := spanish.sentence(rng))[0]):
        pass
    return told
