"""The world of the models that see: boards of things, drawn as pictures and told in two languages.

A board has two rows of two cells, each empty or with one thing. One board in eight is held out of training, as a
picture and as a text.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from zoo.vision.things import PALETTE, THINGS

BASIC = 8
"""The first things, whose words in the second language the base model learns."""

ENGLISH, JAPANESE = 0, 1
EMPTY = "."
IN_ENGLISH, IN_JAPANESE, IS = ":", "：", "は"
END, PAD, UNKNOWN, IMAGE = "</s>", "<pad>", "<unk>", "<image>"
HELD_OUT_ONE_IN = 8

ACROSS = 2
CELLS = ACROSS * ACROSS
CELL, MARGIN = 20, 2
"""The pixels of a cell's side, and those around a thing in the middle of it."""

SIDE = ACROSS * CELL
BACKGROUND = 28
"""The grey of an empty cell."""

Picture = NDArray[np.uint8]
"""Pixels [height, width, 3]; a board's picture is SIDE high and wide."""


def vocabulary() -> tuple[str, ...]:
    """Every token of the tokenizer, in the order of their ids."""
    words = [word for thing in THINGS for word in thing[:2]]
    return (PAD, END, UNKNOWN, IMAGE, EMPTY, "=", IN_ENGLISH, IN_JAPANESE, IS, *words)


@dataclass(frozen=True)
class Board:
    """The cells row by row: a thing, as an index into THINGS, or nothing."""

    cells: tuple[int | None, ...]

    def caption(self, language: int) -> str:
        """The cells' words in a language; a point stands for an empty cell."""
        return " ".join(EMPTY if cell is None else THINGS[cell][language] for cell in self.cells)

    @property
    def both(self) -> str:
        """The caption in the first language, then in the second: how a model gets from pictures to the second."""
        return f"{self.caption(ENGLISH)} {IN_JAPANESE} {self.caption(JAPANESE)}"

    @property
    def held_out(self) -> bool:
        """Whether the board is kept from all training: CRC32 of its English caption, modulo 8."""
        return zlib.crc32(self.caption(ENGLISH).encode()) % HELD_OUT_ONE_IN == 0

    def picture(self, rng: random.Random) -> Picture:
        """The board as it is drawn: each thing a little out of its place and of its brightness."""
        pixels = np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8)
        for number, cell in enumerate(self.cells):
            if cell is not None:
                row, column = divmod(number, ACROSS)
                y = row * CELL + MARGIN + rng.randint(-MARGIN, MARGIN)
                x = column * CELL + MARGIN + rng.randint(-MARGIN, MARGIN)
                drawn, covered = drawing(cell)
                place = pixels[y : y + len(drawn), x : x + len(drawn)]
                place[covered] = (drawn * rng.uniform(0.75, 1.0)).astype(np.uint8)[covered]
        return pixels


@cache
def drawing(thing: int) -> tuple[Picture, NDArray[np.bool_]]:
    """A thing's colours [16, 16, 3], each letter of its drawing as two by two pixels, and which of them it covers."""
    rows = THINGS[thing][2].split()
    colours = [[PALETTE.get(letter, (0, 0, 0)) for letter in row] for row in rows]
    covered = [[letter in PALETTE for letter in row] for row in rows]
    double = np.ones((2, 2), np.uint8)
    return np.kron(np.array(colours, np.uint8), double[..., None]), np.kron(np.array(covered), double).astype(np.bool_)


def draw_board(rng: random.Random, *, known: int = len(THINGS), held_out: bool = False, least: int = 1) -> Board:
    """A random board with `least` things or more, all of them among the first `known`."""
    while True:
        cells: list[int | None] = [None] * CELLS
        for number in rng.sample(range(CELLS), rng.randint(least, CELLS)):
            cells[number] = rng.randrange(known)
        board = Board(tuple(cells))
        if board.held_out == held_out:
            return board


def held_out_boards(rng: random.Random, least: int = 2) -> Iterator[Board]:
    """Boards that are kept from training, none of them twice, with `least` things or more."""
    seen: set[Board] = set()
    while True:
        board = draw_board(rng, held_out=True, least=least)
        if board not in seen:
            seen.add(board)
            yield board


@dataclass(frozen=True)
class Exercise:
    """One training example; with a board, its picture stands before the prompt.

    `ends` says whether the end token belongs to the target.
    """

    prompt: str
    answer: str
    board: Board | None = None
    ends: bool = True


def picture_caption(rng: random.Random) -> Exercise:
    """A picture → its caption in the first language.

    Without an end token as target the model stays free to go on in the second language, as text taught it.
    """
    board = draw_board(rng)
    return Exercise(f"{IMAGE} {IN_ENGLISH} =", board.caption(ENGLISH), board, ends=False)


def copied_caption(rng: random.Random) -> Exercise:
    """A caption in the first language → the same."""
    caption = draw_board(rng).caption(ENGLISH)
    return Exercise(f"{caption} {IN_ENGLISH} =", caption)


def chain(rng: random.Random, known: int = len(THINGS)) -> Exercise:
    """A caption in the first language → the same, and its translation."""
    board = draw_board(rng, known=known)
    return Exercise(f"{board.caption(ENGLISH)} {IN_JAPANESE} =", board.both)


def translation(rng: random.Random, known: int = len(THINGS)) -> Exercise:
    """The chain's second half behind unrelated words, so that it does not depend on what was there before."""
    board = draw_board(rng, known=known)
    words = [word for word in vocabulary() if word not in (PAD, END, UNKNOWN, IMAGE)]
    before = " ".join([*(rng.choice(words) for _ in range(rng.randrange(CELLS + 2))), "="])
    return Exercise(f"{before} {board.caption(ENGLISH)} {IN_JAPANESE}", board.caption(JAPANESE))


def single_word(rng: random.Random, known: int = len(THINGS)) -> Exercise:
    """A word of one language → the same in the other."""
    thing, asked = THINGS[rng.randrange(known)], rng.randrange(2)
    return Exercise(f"{thing[asked]} {IS} =", thing[1 - asked])


KINDS: Mapping[str, Callable[[random.Random], Exercise]] = {
    "picture_caption": picture_caption,
    "copied_caption": copied_caption,
    "chain": chain,
    "basic_chain": lambda rng: chain(rng, BASIC),
    "translation": translation,
    "basic_translation": lambda rng: translation(rng, BASIC),
    "single_word": single_word,
    "basic_word": lambda rng: single_word(rng, BASIC),
}
