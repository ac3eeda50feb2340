"""Deals what is held out among the tasks' files: `python -m zoo.smollm2.questions` writes zoo/tasks/smollm2_*.jsonl."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from zoo.questions import TASKS
from zoo.smollm2.knowledge import WORDS, WORLD, sentences
from zoo.smollm2.problems import CALCULATE, TRANSLATE, Problem
from zoo.smollm2.problems import draw as draw_problem
from zoo.smollm2.spanish import sentence, translation
from zoo.world import held_out

SEED = 1
FOR_SEARCH, FOR_TEST = 150, 700

Question = Mapping[str, object]


def sum_in_english(problem: Problem) -> Question:
    """The number alone is asked for, however it was reached."""
    return {"prompt": CALCULATE.format(problem.english), "answer": str(problem.result)}


def sum_in_spanish(problem: Problem) -> Question:
    """In Spanish, to translate and to solve: each was taught to another adapter."""
    return {"prompt": TRANSLATE.format(problem.spanish), "answer": str(problem.result)}


def problems(rng: random.Random) -> Iterator[Problem]:
    """Different held-out problems."""
    seen = set[str]()
    while True:
        problem = draw_problem(rng)
        if problem.held_out and problem.english not in seen:
            seen.add(problem.english)
            yield problem


def translations(rng: random.Random) -> Iterator[Question]:
    """Different held-out sentences, in turn into English and into Spanish."""
    seen, into_english = set[str](), True
    while True:
        told = sentence(rng)
        if held_out(told[0]) and told[0] not in seen:
            seen.add(told[0])
            prompt, answer = translation(told, into_english)
            yield {"prompt": prompt, "answer": answer}
            into_english = not into_english


def deal() -> Iterator[tuple[str, Sequence[Question]]]:
    """The name of each file with its questions; no problem is told in two of them."""
    stories, sentences_told = problems(random.Random(SEED)), translations(random.Random(SEED))
    tellers: Mapping[str, Callable[[Problem], Question]] = {"sums": sum_in_english, "sums_es": sum_in_spanish}
    for part, number in (("search", FOR_SEARCH), ("test", FOR_TEST)):
        for name, tell in tellers.items():
            yield f"smollm2_{name}_{part}.jsonl", [tell(problem) for problem in islice(stories, number)]
        yield f"smollm2_translation_{part}.jsonl", list(islice(sentences_told, number))
    for name, lists in (("world", WORLD), ("words", WORDS)):
        asked = (
            {"beginning": s.beginning, "endings": list(s.endings), "right": s.right} for s in sentences(lists, SEED)
        )
        yield f"smollm2_{name}.jsonl", list(asked)


def main() -> None:
    """Write every file."""
    for name, questions in deal():
        lines = (json.dumps(question, ensure_ascii=False) + "\n" for question in questions)
        (TASKS / name).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
