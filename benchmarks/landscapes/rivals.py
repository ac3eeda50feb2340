"""Four specialists whose skills are in each other's way: what is taught, and what is asked.

Their base knows some of everything. Each specialist is taught one thing alone, and forgets the rest: what follows
after a story in the first language is a number in digits to one, in kanji numerals to another, and the story in the
second language to a third; only the mark at the end tells them apart, which no specialist had to look at. A fourth
translates the other way. So a merge cannot have all of each, and has to be asked how much of which.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from zoo import world
from zoo.questions import SEED, TASKS
from zoo.train import Course, ItemKinds, train_zoo, write
from zoo.world import END, Story, kanji, stories

LAYERS = 3
SEARCHED, TESTED = 250, 750
"""Questions of each skill: for searches, and for the other two splits."""

Asked = Callable[[Story], tuple[str, str]]
"""The prompt and the answer that a story makes."""

SKILLS: Mapping[str, Asked] = {
    "digits": lambda story: (f"{_statement(story)} ?", str(story.result)),
    "numerals": lambda story: (f"{_statement(story)} ？", kanji(story.result)),
    "telling": lambda story: (f"{_statement(story)} =", story.japanese_words),
    "translation": lambda story: (story.japanese, _statement(story)),
}


def _statement(story: Story) -> str:
    """The story in the first language, without its question mark."""
    return story.english.removesuffix(" ?")


def _drawn(asked: Asked) -> Callable[[random.Random], world.Item]:
    """A kind of training item: one skill's question on a story that is not held out."""

    def draw(rng: random.Random) -> world.Item:
        story = world.told_sum(rng).story
        assert story is not None
        return world.Item(*asked(story), story)

    return draw


KINDS: ItemKinds = {name: _drawn(asked) for name, asked in SKILLS.items()}

EASY = ("telling", "translation")
"""Skills that the base learns from few examples."""

COURSES: Mapping[str, Course] = {
    "base": Course(
        parent=None,
        mix={name: 0.2 if name in EASY else 1.0 for name in SKILLS},
        steps=200,
        adamw=6e-3,
        muon=0.02,
        final=0.3,
        prompt_loss=0.1,
    ),
    **{
        name: Course("base", {name: 1.0}, steps=120, adamw=2e-3, muon=0.006, final=0.0, prompt_loss=0.0)
        for name in SKILLS
    },
}


def train_rivals(folder: Path, seed: int = 0) -> None:
    """Train the base and its specialists, and write them and their tasks to a folder."""
    for name, model in train_zoo(seed, COURSES, LAYERS, KINDS).items():
        write(model, folder / name)
    write_tasks(folder / "tasks")


def write_tasks(folder: Path) -> None:
    """One task a skill, all of the zoo's form: exact match of the whole answer, end token included, in one pass."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(TASKS / "jsonl.py", folder)
    for name, (searched, tested) in _dealt():
        for split, questions in (("search", searched), ("test", tested)):
            lines = (json.dumps(question, ensure_ascii=False) + "\n" for question in questions)
            (folder / f"{name}_{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        task = (TASKS / "math_ja.yaml").read_text(encoding="utf-8").replace("zoo_math_ja", f"rivals_{name}")
        (folder / f"{name}.yaml").write_text(task.replace("math_ja_", f"{name}_"), encoding="utf-8")


def _dealt() -> Iterator[tuple[str, tuple[list[dict[str, str]], list[dict[str, str]]]]]:
    """Skill, and its questions for searches and for tests; no story is in two of these."""
    pile = [story for story in stories() if story.held_out]
    random.Random(SEED).shuffle(pile)
    for name, asked in SKILLS.items():
        hand, pile = pile[: SEARCHED + TESTED], pile[SEARCHED + TESTED :]
        questions = [{"prompt": prompt, "answer": f"{answer}{END}"} for prompt, answer in map(asked, hand)]
        yield name, (questions[:SEARCHED], questions[SEARCHED:])
