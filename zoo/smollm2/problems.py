"""Arithmetic word problems of one to three steps, each told in English and in Spanish, with its calculation."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from zoo.smollm2.words import CONTAINERS, DAYS, NAMES, THINGS, Noun, spanish_and
from zoo.world import held_out

Told = tuple[str, str]
"""The same sentence in English and in Spanish."""

CALCULATE = "Calculate: {}"
REPEAT = "Repeat it, then calculate: {}"
TRANSLATE = "Translate into English, then calculate: {}"
"""Instructions before a problem: the first two before one in English, the last before one in Spanish."""

MOST = 200
"""No number of a problem, and no result, is larger."""


@dataclass(frozen=True)
class Problem:
    """A story as sentences in both languages, a question, and the steps that answer it, such as `17 + 5 = 22`."""

    story: tuple[Told, ...]
    question: Told
    steps: tuple[str, ...]
    result: int

    @property
    def english(self) -> str:
        """The whole problem in English."""
        return " ".join(english for english, _ in (*self.story, self.question))

    @property
    def spanish(self) -> str:
        """The whole problem in Spanish."""
        return " ".join(spanish for _, spanish in (*self.story, self.question))

    @property
    def calculation(self) -> str:
        """The answer: every step, `17 + 5 = 22, 22 - 4 = 18`."""
        return ", ".join(self.steps)

    @property
    def held_out(self) -> bool:
        """Whether the problem is kept from all training, in both languages."""
        return held_out(self.english)


class Sum:
    """A calculation under way: its value so far and the steps that led there."""

    def __init__(self, value: int) -> None:
        self.value, self.steps = value, ()  # type: int, tuple[str, ...]

    def apply(self, sign: str, number: int) -> None:
        """Go one step on: `sign` is one of + - * /; a division leaves no remainder."""
        result = {
            "+": self.value + number,
            "-": self.value - number,
            "*": self.value * number,
            "/": self.value // number,
        }[sign]
        self.steps += (f"{self.value} {sign} {number} = {result}",)
        self.value = result


# What may happen to the things that somebody has: gains, then losses. {n}: who, {o}: another person, {b}: how many.
GAINS: tuple[Told, ...] = (
    ("{n} buys {b} more", "{n} compra {b} más"),
    ("{n} finds {b} more", "{n} encuentra {b} más"),
    ("{n} wins {b} more", "{n} gana {b} más"),
    ("{n} gets {b} more from {o}", "{n} recibe {b} más de {o}"),
    ("{o} gives {n} {b} more", "{o} le da {b} más a {n}"),
    ("{o} brings {n} {b} more", "{o} le trae {b} más a {n}"),
)
LOSSES: tuple[Told, ...] = (
    ("{n} gives {b} to {o}", "{n} le da {b} a {o}"),
    ("{n} loses {b}", "{n} pierde {b}"),
    ("{n} sells {b}", "{n} vende {b}"),
    ("{n} throws {b} away", "{n} tira {b} a la basura"),
    ("{n} forgets {b} at school", "{n} olvida {b} en la escuela"),
    ("{o} takes {b} from {n}", "{o} le quita {b} a {n}"),
)
TIMES: tuple[Told, ...] = (
    ("", ""),
    ("", ""),
    ("Then ", "Luego "),
    ("Later ", "Más tarde "),
    ("The next day ", "Al día siguiente "),
    ("In the evening ", "Por la tarde "),
)


def change(rng: random.Random, total: Sum, name: str, other: str) -> Told:
    """Something that happens to what `name` has, added to `total`."""
    gain = rng.random() < 0.5 or total.value < 4
    number = rng.randint(2, min(60, MOST - total.value)) if gain else rng.randint(2, total.value - 1)
    total.apply("+" if gain else "-", number)
    facts = {"n": name, "o": other, "b": number}
    (english, spanish), (when, cuando) = rng.choice(GAINS if gain else LOSSES), rng.choice(TIMES)
    return f"{when}{english.format(**facts)}.", f"{cuando}{spanish.format(**facts)}."


def how_many_now(rng: random.Random, name: str, thing: Noun) -> Told:
    """The question that ends most stories."""
    when, cuando = rng.choice((("now", "ahora"), ("in the end", "al final")))
    return f"How many {thing.many} does {name} have {when}?", f"¿{thing.how_many} {thing.muchos} tiene {name} {cuando}?"


def changes(rng: random.Random) -> Problem:
    """Somebody has things, and gets or loses some, up to three times."""
    thing, (name, other) = rng.choice(THINGS), rng.sample(NAMES, 2)
    total = Sum(rng.randint(4, 60))
    story = [(f"{name} has {total.value} {thing.many}.", f"{name} tiene {total.value} {thing.muchos}.")]
    story += [change(rng, total, name, other) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
    return Problem(tuple(story), how_many_now(rng, name, thing), total.steps, total.value)


def containers(rng: random.Random) -> Problem:
    """Full containers, counted, and perhaps something that happens afterwards."""
    thing, box, (name, other) = rng.choice(THINGS), rng.choice(CONTAINERS), rng.sample(NAMES, 2)
    total, each = Sum(rng.randint(2, 12)), rng.randint(2, 12)
    story = [
        (
            f"{name} has {total.value} {box.many} with {each} {thing.many} in each.",
            f"{name} tiene {total.value} {box.muchos} con {each} {thing.muchos} en {box.each}.",
        )
    ]
    total.apply("*", each)
    if rng.random() < 0.4:
        story.append(change(rng, total, name, other))
    return Problem(tuple(story), how_many_now(rng, name, thing), total.steps, total.value)


def sharing(rng: random.Random) -> Problem:
    """Things shared equally among friends, and perhaps one friend gets or loses some."""
    thing, (name, other, friend) = rng.choice(THINGS), rng.sample(NAMES, 3)
    friends, each = rng.randint(2, 9), rng.randint(2, 12)
    total = Sum(friends * each)
    story = [
        (
            f"{name} shares {total.value} {thing.many} equally among {friends} friends.",
            f"{name} reparte {total.value} {thing.muchos} por igual entre {friends} amigos.",
        )
    ]
    total.apply("/", friends)
    if rng.random() < 0.3:
        story.append((f"One of them is {friend}.", f"Uno de los amigos se llama {friend}."))
        story.append(change(rng, total, friend, other))
        return Problem(tuple(story), how_many_now(rng, friend, thing), total.steps, total.value)
    question = (
        f"How many {thing.many} does each friend get?",
        f"¿{thing.how_many} {thing.muchos} recibe cada amigo?",
    )
    return Problem(tuple(story), question, total.steps, total.value)


def comparison(rng: random.Random) -> Problem:
    """Two people, one of whom has more, fewer, twice or half as many."""
    thing, (name, other) = rng.choice(THINGS), rng.sample(NAMES, 2)
    first, second = rng.randint(4, 80), rng.randint(2, 40)
    kind = rng.choice(("more", "fewer", "twice", "half"))
    if kind == "fewer" and second >= first:
        first, second = second + 2, first
    if kind == "half":
        first = 2 * (first // 2)
    english, spanish, sign, number = {
        "more": (f"{second} more {{t}} than", f"{second} {{t}} más que", "+", second),
        "fewer": (f"{second} fewer {{t}} than", f"{second} {{t}} menos que", "-", second),
        "twice": ("twice as many {t} as", "el doble de {t} que", "*", 2),
        "half": ("half as many {t} as", "la mitad de {t} que", "/", 2),
    }[kind]
    total = Sum(first)
    total.apply(sign, number)
    story = (
        (f"{name} has {first} {thing.many}.", f"{name} tiene {first} {thing.muchos}."),
        (
            f"{other} has {english.format(t=thing.many)} {name}.",
            f"{other} tiene {spanish.format(t=thing.muchos)} {name}.",
        ),
    )
    question = f"How many {thing.many} does {other} have?", f"¿{thing.how_many} {thing.muchos} tiene {other}?"
    return Problem(story, question, total.steps, total.value)


def two_people(rng: random.Random) -> Problem:
    """What two people have together, or how much more one has."""
    thing, (name, other) = rng.choice(THINGS), rng.sample(NAMES, 2)
    more, less = sorted((rng.randint(2, 99), rng.randint(2, 99)), reverse=True)
    total = Sum(more)
    story = (
        (
            f"{name} has {more} {thing.many} and {other} has {less}.",
            f"{name} tiene {more} {thing.muchos} {spanish_and(other)} {other} tiene {less}.",
        ),
    )
    if rng.random() < 0.5:
        total.apply("+", less)
        question = (
            f"How many {thing.many} do they have together?",
            f"¿{thing.how_many} {thing.muchos} tienen en total?",
        )
    else:
        total.apply("-", less)
        question = (
            f"How many more {thing.many} does {name} have than {other}?",
            f"¿{thing.how_many} {thing.muchos} más tiene {name} que {other}?",
        )
    return Problem(story, question, total.steps, total.value)


def shopping(rng: random.Random) -> Problem:
    """A price, and perhaps the money that is left."""
    thing, name = rng.choice(THINGS), rng.choice(NAMES)
    total, price = Sum(rng.randint(2, 12)), rng.randint(2, 12)
    bought = total.value
    total.apply("*", price)
    if rng.random() < 0.5:
        costs = f"One {thing.one} costs {price} euros.", f"{thing.un.capitalize()} {thing.uno} cuesta {price} euros."
        question = f"How many euros do {bought} {thing.many} cost?", f"¿Cuántos euros cuestan {bought} {thing.muchos}?"
        return Problem((costs,), question, total.steps, total.value)
    money = total.value + rng.randint(1, 50)
    left = money - total.value
    told = (
        (f"{name} has {money} euros.", f"{name} tiene {money} euros."),
        (
            f"{name} buys {bought} {thing.many} for {price} euros each.",
            f"{name} compra {bought} {thing.muchos} a {price} euros {thing.each}.",
        ),
    )
    question = f"How many euros does {name} have left?", f"¿Cuántos euros le quedan a {name}?"
    return Problem(told, question, (*total.steps, f"{money} - {total.value} = {left}"), left)


def bus(rng: random.Random) -> Problem:
    """People get off a bus and on it."""
    total = Sum(rng.randint(6, 60))
    off, on, people = rng.randint(2, total.value - 1), rng.randint(2, 30), total.value
    total.apply("-", off)
    total.apply("+", on)
    story = (
        (f"There are {people} people on a bus.", f"Hay {people} personas en un autobús."),
        (f"{off} get off and {on} get on.", f"Bajan {off} y suben {on}."),
    )
    question = "How many people are on the bus now?", "¿Cuántas personas hay en el autobús ahora?"
    return Problem(story, question, total.steps, total.value)


def running(rng: random.Random) -> Problem:
    """Kilometres of two days."""
    name, ((day, dia), (next_day, otro_dia)) = rng.choice(NAMES), rng.sample(DAYS[:7], 2)
    total, more = Sum(rng.randint(2, 40)), rng.randint(2, 40)
    story = (
        (f"{day} {name} walks {total.value} kilometres.", f"{dia} {name} camina {total.value} kilómetros."),
        (f"{next_day} {name} walks {more} kilometres.", f"{otro_dia} {name} camina {more} kilómetros."),
    )
    total.apply("+", more)
    question = f"How many kilometres does {name} walk in all?", f"¿Cuántos kilómetros camina {name} en total?"
    return Problem(story, question, total.steps, total.value)


def ages(rng: random.Random) -> Problem:
    """An age in some years, or some years ago."""
    name, total, years = rng.choice(NAMES), Sum(rng.randint(12, 80)), rng.randint(2, 11)
    story = ((f"{name} is {total.value} years old.", f"{name} tiene {total.value} años."),)
    if rng.random() < 0.5:
        total.apply("+", years)
        question = f"How old will {name} be in {years} years?", f"¿Cuántos años tendrá {name} dentro de {years} años?"
    else:
        total.apply("-", years)
        question = f"How old was {name} {years} years ago?", f"¿Cuántos años tenía {name} hace {years} años?"
    return Problem(story, question, total.steps, total.value)


def pages(rng: random.Random) -> Problem:
    """A book with pages still to read."""
    name, total = rng.choice(NAMES), Sum(rng.randint(20, MOST))
    read = rng.randint(2, total.value - 1)
    story = (
        (f"A book has {total.value} pages.", f"Un libro tiene {total.value} páginas."),
        (f"{name} has read {read} pages.", f"{name} ha leído {read} páginas."),
    )
    total.apply("-", read)
    question = f"How many pages must {name} still read?", f"¿Cuántas páginas le faltan a {name}?"
    return Problem(story, question, total.steps, total.value)


KINDS: tuple[tuple[Callable[[random.Random], Problem], float], ...] = (
    (changes, 0.35),
    (containers, 0.12),
    (sharing, 0.1),
    (comparison, 0.12),
    (two_people, 0.08),
    (shopping, 0.1),
    (bus, 0.04),
    (running, 0.03),
    (ages, 0.03),
    (pages, 0.03),
)
"""Every kind of problem with its share."""


def draw(rng: random.Random) -> Problem:
    """A random problem, held out or not."""
    kinds, shares = zip(*KINDS, strict=True)
    problem: Problem = rng.choices(kinds, shares)[0](rng)
    return problem
