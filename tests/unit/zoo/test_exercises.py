"""What SmolLM2's adapters are taught, and the questions that are kept from them."""

import json
import random
import re

import pytest

from zoo.questions import TASKS
from zoo.smollm2.exercises import COURSES
from zoo.smollm2.knowledge import CHOICES, WORDS, WORLD, sentences
from zoo.smollm2.problems import KINDS, MOST, draw
from zoo.smollm2.questions import deal
from zoo.smollm2.spanish import sentence
from zoo.smollm2.words import CONTAINERS, THINGS

pytestmark = pytest.mark.slow

STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_a_problem_has_the_same_numbers_in_both_languages_and_a_calculation_that_is_right(kind):
    rng = random.Random(2)
    for problem in (kind(rng) for _ in range(300)):
        assert numbers(problem.english) == numbers(problem.spanish)
        steps = [STEP.fullmatch(step).groups() for step in problem.calculation.split(", ")]
        for first, sign, second, result in steps:
            assert OPERATIONS[sign](int(first), int(second)) == int(result)
            assert sign != "/" or int(first) % int(second) == 0
        assert int(steps[-1][-1]) == problem.result and 0 <= problem.result <= MOST
        given = set(numbers(problem.english))
        assert sum(number in given for first, _, second, _ in steps for number in (first, second)) >= len(steps)


def test_spanish_articles_and_question_words_agree_with_their_nouns():
    rng = random.Random(3)
    texts = [draw(rng).spanish for _ in range(3000)] + [sentence(rng)[1] for _ in range(3000)]
    for noun in (*THINGS, *CONTAINERS):
        wrong = ("Cuántos", "un", "los") if noun.feminine else ("Cuántas", "una", "las")
        found = [text for text in texts for word in wrong if re.search(rf"\b{word} {noun.muchos}\b", text)]
        assert found == []
        assert not any(re.search(rf"\b{wrong[1]} {noun.uno}\b", text, re.IGNORECASE) for text in texts)


def test_no_held_out_question_occurs_in_training():
    kept = {text for name, dealt in deal() if "_wor" not in name for q in dealt for text in asked_in(q)}
    for course in COURSES.values():
        rng = random.Random(0)
        taught = {text for _ in range(20_000) for exercise in [course(rng)] for text in asked_in(vars(exercise))}
        assert len(taught) > 10_000
        assert taught.isdisjoint(kept)


def asked_in(question) -> set[str]:
    """What is told in a question and its answer: not the instruction before it, nor a number alone."""
    prompt = str(question["prompt"]).partition(": ")[2]
    return {text for text in (prompt, str(question["answer"])) if " " in text}


def test_the_spanish_course_has_no_calculation():
    rng = random.Random(4)
    taught = [COURSES["spanish"](rng) for _ in range(5000)]
    assert not any(re.search(r"[=*/]|\d \+|[Cc]alculate", exercise.prompt + exercise.answer) for exercise in taught)


def test_the_course_of_word_problems_has_no_spanish():
    rng = random.Random(4)
    taught = [COURSES["sums"](rng) for _ in range(5000)]
    assert not any(re.search(r"[¿áéíóúñ]| tiene ", exercise.prompt + exercise.answer) for exercise in taught)


def test_the_shipped_questions_are_those_that_the_script_deals_and_none_is_asked_twice():
    prompts = []
    for name, dealt in deal():
        shipped = [json.loads(line) for line in (TASKS / name).read_text("utf-8").splitlines()]
        assert shipped == list(dealt)
        prompts += [question.get("prompt", question.get("beginning")) for question in shipped]
    assert len(set(prompts)) == len(prompts) > 2000


def test_general_knowledge_has_one_right_ending_and_other_ones_beside_it():
    asked = list(sentences({**WORLD, **WORDS}, 1))
    assert len(asked) > 300 and {len(set(one.endings)) for one in asked} == {CHOICES}
    [paris] = [one for one in asked if one.beginning == "The capital of France is"]
    assert paris.endings[paris.right] == "Paris"
