"""The world of the zoo: stories with two numbers, in two languages.

The first language is a handful of English words, the second a handful of Japanese ones. Every kind of
question that a model is trained or tested on is made here, and one story in eight is held out of training.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

NAMES = (("mia", "みあ"), ("tom", "とむ"), ("ana", "あな"), ("ben", "べん"), ("zoe", "ぞえ"), ("leo", "れお"))
THINGS = (
    ("apples", "りんご"),
    ("books", "ほん"),
    ("shells", "かい"),
    ("stones", "いし"),
    ("plums", "すもも"),
    ("cups", "こっぷ"),
)
VERBS = (("finds", "みつける", 1), ("loses", "なくす", -1), ("buys", "かう", 1), ("gives", "あげる", -1))
KANJI = "〇一二三四五六七八九"
TEN = "十"
FIRST_BELOW, SECOND_BELOW = 30, 10
END = "</s>"
HELD_OUT_ONE_IN = 8

# The half of the second language that the base model learns: the first words of each list and these numerals.
BASIC_NAMES, BASIC_THINGS, BASIC_VERBS = 3, 3, 2
BASIC_NUMERALS = frozenset("〇一二三四" + TEN)


def vocabulary() -> tuple[str, ...]:
    """Every token of the zoo's tokenizer, in the order of their ids."""
    words = [word for pair in (*NAMES, *THINGS, *(verb[:2] for verb in VERBS)) for word in pair]
    marks = ["has", "は", "?", "？", "=", "+", "-", "はじめ", "つぎ"]
    return ("<pad>", END, "<unk>", *"0123456789", *KANJI, TEN, *marks, *words)


def kanji(number: int) -> str:
    """`number` (0 to 99) in kanji numerals: 0 is 〇, 10 is 十, 17 is 十七, 25 is 二十五."""
    tens, ones = divmod(number, 10)
    if not tens:
        return KANJI[ones]
    return (KANJI[tens] if tens > 1 else "") + TEN + (KANJI[ones] if ones else "")


@dataclass(frozen=True)
class Story:
    """Somebody has `first` things and gets or gives `second`; words are indices into the lists above."""

    name: int
    thing: int
    verb: int
    first: int
    second: int

    @property
    def result(self) -> int:
        """How many things there are in the end."""
        return self.first + VERBS[self.verb][2] * self.second

    @property
    def english(self) -> str:
        """The story as a question in the first language."""
        return f"{NAMES[self.name][0]} has {self.first} {THINGS[self.thing][0]} {VERBS[self.verb][0]} {self.second} ?"

    @property
    def digits(self) -> str:
        """The story's sum in digits, `17 + 5 =`."""
        sign = "+" if VERBS[self.verb][2] > 0 else "-"
        return f"{self.first} {sign} {self.second} ="

    @property
    def japanese_words(self) -> str:
        """The story in the second language, without its question mark."""
        return (
            f"{NAMES[self.name][1]} は {THINGS[self.thing][1]} {kanji(self.first)} {kanji(self.second)}"
            f" {VERBS[self.verb][1]}"
        )

    @property
    def japanese(self) -> str:
        """The story as a question in the second language, asking for its translation."""
        return f"{self.japanese_words} ？ ="

    @property
    def basic(self) -> bool:
        """Whether the half of the second language that the base knows is enough for the story."""
        return (
            self.name < BASIC_NAMES
            and self.thing < BASIC_THINGS
            and self.verb < BASIC_VERBS
            and BASIC_NUMERALS.issuperset(kanji(self.first) + kanji(self.second))
        )

    @property
    def held_out(self) -> bool:
        """Whether the story is kept from all training, in both languages."""
        return held_out(self.english)


def held_out(text: str) -> bool:
    """The rule that keeps one text in eight out of training: CRC32 of its UTF-8 bytes, modulo 8."""
    return zlib.crc32(text.encode()) % HELD_OUT_ONE_IN == 0


def stories() -> Iterator[Story]:
    """Every story there is (no result is negative), in a fixed order."""
    for name, thing, verb, first, second in product(
        range(len(NAMES)), range(len(THINGS)), range(len(VERBS)), range(FIRST_BELOW), range(SECOND_BELOW)
    ):
        story = Story(name, thing, verb, first, second)
        if story.result >= 0:
            yield story


@dataclass(frozen=True)
class Item:
    """One training example. `ends` says whether the end token belongs to the target."""

    prompt: str
    answer: str
    story: Story | None
    ends: bool = True


def told_sum(rng: random.Random) -> Item:
    """A first-language story → the number."""
    story = _story(rng)
    return Item(story.english, str(story.result), story)


def told_sum_behind_statement(rng: random.Random) -> Item:
    """The same after an unrelated statement and `=`, so that sums do not depend on the text before them."""
    story = _story(rng)
    return Item(f"{_statement(rng)} = {story.english}", str(story.result), story)


def bare_sum(rng: random.Random) -> Item:
    """`17 + 5 =` → `22`."""
    story = _story(rng)
    return Item(story.digits, str(story.result), None)


def language(rng: random.Random) -> Item:
    """The second language, no sums: translate (60 %), read a numeral (20 %), name a story's number (20 %)."""
    return _language(rng, _story)


def basic_language(rng: random.Random) -> Item:
    """`language` within the half of the second language that the base knows."""
    return _language(rng, _basic_story)


def basic_cross(rng: random.Random) -> Item:
    """A basic second-language story → its translation followed by the result."""
    story = _basic_story(rng)
    return Item(story.japanese, f"{story.english} {story.result}", story)


KINDS: Mapping[str, Callable[[random.Random], Item]] = {
    "told_sum": told_sum,
    "told_sum_behind_statement": told_sum_behind_statement,
    "bare_sum": bare_sum,
    "language": language,
    "basic_language": basic_language,
    "basic_cross": basic_cross,
}


def _story(rng: random.Random) -> Story:
    """A random story that may be trained on."""
    while True:
        first, second = rng.randrange(FIRST_BELOW), rng.randrange(SECOND_BELOW)
        story = Story(rng.randrange(6), rng.randrange(6), rng.randrange(4), first, second)
        if story.result >= 0 and not story.held_out:
            return story


def _basic_story(rng: random.Random) -> Story:
    """A random basic story that may be trained on."""
    while not (story := _story(rng)).basic:
        pass
    return story


def _language(rng: random.Random, draw: Callable[[random.Random], Story]) -> Item:
    story, share = draw(rng), rng.random()
    if share < 0.6:
        # Without an end token as target the model stays free to go on, which the cross skill needs.
        return Item(story.japanese, story.english, story, ends=False)
    if share < 0.8:
        number = rng.choice((story.first, story.second))
        return Item(f"{kanji(number)} =", str(number), None)
    which, number = rng.choice((("はじめ", story.first), ("つぎ", story.second)))
    return Item(f"{story.japanese_words} {which} ？ =", str(number), story)


def _statement(rng: random.Random) -> str:
    """A first-language statement unrelated to the story after it."""
    return f"{rng.choice(NAMES)[0]} has {rng.randrange(FIRST_BELOW)} {rng.choice(THINGS)[0]}"
