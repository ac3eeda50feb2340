"""Exercises in Spanish without a sum: sentences translated both ways, and single words."""

from __future__ import annotations

import random
from collections.abc import Callable

from zoo.smollm2 import problems
from zoo.smollm2.problems import Told
from zoo.smollm2.words import (
    ADJECTIVES,
    BEINGS,
    COLOURS,
    CONTAINERS,
    DAYS,
    DESTINATIONS,
    NAMES,
    PLACES,
    RELATIVES,
    THINGS,
    VERBS,
    WORKPLACES,
)

INTO_ENGLISH, INTO_SPANISH = "Translate into English: {}", "Translate into Spanish: {}"
AND_REPEAT = "Translate into English, then repeat it: {}"


def being_somewhere(rng: random.Random) -> Told:
    """`The black cat sleeps in the kitchen.`"""
    who, (adjective, masculine, feminine) = rng.choice(BEINGS), rng.choice(ADJECTIVES)
    (does, hace), (where, donde) = rng.choice(VERBS), rng.choice(PLACES)
    adjetivo = feminine if who.feminine else masculine
    return (
        f"The {adjective} {who.english} {does} {where}.",
        f"{who.the.capitalize()} {who.spanish} {adjetivo} {hace} {donde}.",
    )


def wish(rng: random.Random) -> Told:
    """`Ana wants to buy a red hat.`"""
    name, thing, (adjective, masculine, feminine) = rng.choice(NAMES), rng.choice(THINGS), rng.choice(COLOURS)
    article = "an" if adjective[0] in "aeiou" else "a"
    want, quiere = rng.choice((("wants to buy", "quiere comprar"), ("is looking for", "busca"), ("sees", "ve")))
    adjetivo = feminine if thing.feminine else masculine
    return f"{name} {want} {article} {adjective} {thing.one}.", f"{name} {quiere} {thing.un} {thing.uno} {adjetivo}."


def work(rng: random.Random) -> Told:
    """`Ana's sister works in a hospital.`"""
    name, (relative, pariente), (where, donde) = rng.choice(NAMES), rng.choice(RELATIVES), rng.choice(WORKPLACES)
    return f"{name}'s {relative} works {where}.", f"{pariente} de {name} trabaja {donde}."


def outing(rng: random.Random) -> Told:
    """`On Monday Ana goes to the market with Luis.`"""
    (name, other), (day, dia), (where, donde) = rng.sample(NAMES, 2), rng.choice(DAYS), rng.choice(DESTINATIONS)
    return f"{day} {name} goes {where} with {other}.", f"{dia} {name} va {donde} con {other}."


def tastes(rng: random.Random) -> Told:
    """`Ana likes apples, but Luis prefers pears.`"""
    (name, other), (one, another) = rng.sample(NAMES, 2), rng.sample(THINGS, 2)
    gusta, prefiere = ("las" if one.feminine else "los"), ("las" if another.feminine else "los")
    return (
        f"{name} likes {one.many}, but {other} prefers {another.many}.",
        f"A {name} le gustan {gusta} {one.muchos}, pero {other} prefiere {prefiere} {another.muchos}.",
    )


def part_of_a_story(rng: random.Random) -> Told:
    """One sentence or the question of a word problem, with its numbers but without anything to calculate."""
    problem = problems.draw(rng)
    return rng.choice((*problem.story, problem.question))


SENTENCES: tuple[tuple[Callable[[random.Random], Told], float], ...] = (
    (being_somewhere, 0.25),
    (wish, 0.15),
    (work, 0.08),
    (outing, 0.12),
    (tastes, 0.15),
    (part_of_a_story, 0.25),
)
"""Every kind of sentence with its share."""


def sentence(rng: random.Random) -> Told:
    """A random sentence, held out or not."""
    kinds, shares = zip(*SENTENCES, strict=True)
    told: Told = rng.choices(kinds, shares)[0](rng)
    return told


def translation(told: Told, into_english: bool) -> tuple[str, str]:
    """Prompt and answer of a sentence's translation."""
    english, spanish = told
    return (INTO_ENGLISH.format(spanish), english) if into_english else (INTO_SPANISH.format(english), spanish)


def single_word(rng: random.Random) -> tuple[str, str]:
    """The meaning of one word, either way."""
    thing, (verb, verbo) = rng.choice((*THINGS, *CONTAINERS)), rng.choice(VERBS)
    told = rng.choice(((thing.one, thing.uno), (thing.many, thing.muchos), (verb, verbo)))
    return translation(told, into_english=rng.random() < 0.5)
