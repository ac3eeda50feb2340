"""Divides the held-out stories among the tasks' files: `python -m zoo.questions` writes zoo/tasks/*.jsonl."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from zoo.world import END, Story, stories

TASKS = Path(__file__).parent / "tasks"
SEED = 1


def sum_in_first_language(story: Story) -> dict[str, str]:
    """The number alone; its end token distinguishes 1 from 13."""
    return {"prompt": story.english, "answer": f"{story.result}{END}"}


def sum_in_second_language(story: Story) -> dict[str, str]:
    """The translation followed by the number: both skills at once."""
    return {"prompt": story.japanese, "answer": f"{story.english} {story.result}{END}"}


def translation(story: Story) -> dict[str, str]:
    """The translation alone."""
    return {"prompt": story.japanese, "answer": story.english}


FILES: Mapping[str, tuple[int, Callable[[Story], dict[str, str]]]] = {
    "math_en.jsonl": (1600, sum_in_first_language),
    "math_ja_search.jsonl": (400, sum_in_second_language),
    "math_ja_test.jsonl": (1000, sum_in_second_language),
    "translation_search.jsonl": (400, translation),
    "translation_test.jsonl": (1000, translation),
}


def sums() -> list[dict[str, str]]:
    """Every sum of the stories in digits, once."""
    found = {(story.digits, f"{story.result}{END}") for story in stories()}
    return [{"prompt": prompt, "answer": answer} for prompt, answer in sorted(found)]


def deal() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """File name and questions of each file; no story is in two files."""
    pile = [story for story in stories() if story.held_out]
    random.Random(SEED).shuffle(pile)
    for name, (count, question) in FILES.items():
        hand, pile = pile[:count], pile[count:]
        yield name, [question(story) for story in hand]


def main() -> None:
    """Write the files."""
    for name, questions in (*deal(), ("sums.jsonl", sums())):
        lines = (json.dumps(question, ensure_ascii=False) + "\n" for question in questions)
        (TASKS / name).write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {len(questions)} questions")


if __name__ == "__main__":
    main()
