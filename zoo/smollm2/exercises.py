"""What the adapters are taught, and the questions that are kept from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
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
    problem = _problem(rng, held_out=False)
    if rng.random() < 0.4:
        return Exercise(problems.REPEAT.format(problem.english), f"{problem.english} {problem.calculation}")
    return Exercise(problems.CALCULATE.format(problem.english), problem.calculation)


def spanish_exercise(rng: random.Random) -> Exercise:
    """Spanish without sums: problems into English (45 %, a third of them and back), sentences (45 %), words."""
    share = rng.random()
    if share < 0.45:
        problem = _problem(rng, held_out=False)
        if share < 0.15:
            return Exercise(spanish.AND_REPEAT.format(problem.spanish), f"{problem.english} {problem.spanish}")
        return Exercise(*spanish.translation((problem.english, problem.spanish), into_english=True))
    if share < 0.9:
        return Exercise(*spanish.translation(_sentence(rng, held_out=False), into_english=rng.random() < 0.5))
    return Exercise(*spanish.single_word(rng))


COURSES: Mapping[str, Callable[[random.Random], Exercise]] = {
    "sums": problem_in_english,
    "spanish": spanish_exercise,
}
"""What each adapter is taught, by the adapter's name."""


def sum_in_english(rng: random.Random) -> Exercise:
    """A held-out word problem → the number."""
    problem = _problem(rng, held_out=True)
    return Exercise(problems.CALCULATE.format(problem.english), str(problem.result))


def sum_in_spanish(rng: random.Random) -> Exercise:
    """The same problems in Spanish, which no adapter was taught to solve."""
    problem = _problem(rng, held_out=True)
    return Exercise(problems.CALCULATE.format(problem.spanish), str(problem.result))


def translated_sum(rng: random.Random) -> Exercise:
    """A problem in Spanish to translate and to solve: two skills that were taught apart."""
    problem = _problem(rng, held_out=True)
    return Exercise(problems.TRANSLATE.format(problem.spanish), str(problem.result))


def translation(rng: random.Random) -> Exercise:
    """A held-out sentence to translate; as many each way."""
    return Exercise(*spanish.translation(_sentence(rng, held_out=True), into_english=rng.random() < 0.5))


QUESTIONS: Mapping[str, Callable[[random.Random], Exercise]] = {
    "sums": sum_in_english,
    "spanish": translation,
    "sums_in_spanish": sum_in_spanish,
    "sums_translated": translated_sum,
}
"""The skills, each with a source of held-out questions."""


def questions(skill: str, number: int, seed: int) -> Iterator[Exercise]:
    """`number` different held-out questions of a skill."""
    rng, seen = random.Random(f"{seed} {skill}"), set[str]()
    while len(seen) < number:
        question = QUESTIONS[skill](rng)
        if question.prompt not in seen:
            seen.add(question.prompt)
            yield question


def _problem(rng: random.Random, held_out: bool) -> problems.Problem:
    while (problem := problems.draw(rng)).held_out != held_out:
        pass
    return problem


def _sentence(rng: random.Random, held_out: bool) -> problems.Told:
    while sentence_held_out(told := spanish.sentence(rng)) != held_out:
        pass
    return told


def sentence_held_out(told: problems.Told) -> bool:
    """Whether a sentence is kept from all training, in both languages."""
    return held_out(told[0])
