"""The tiny world, its held-out rule and the questions dealt from it."""

import json
import random

import pytest

from zoo.questions import FILES, TASKS, deal
from zoo.train import COURSES, TOKEN, ids, items
from zoo.world import KINDS, VERBS, Story, kanji, stories, vocabulary

pytestmark = pytest.mark.slow

HELD_OUT = {text for story in stories() if story.held_out for text in (story.english, story.japanese)}


def test_a_story_is_told_in_both_languages():
    story = Story(name=0, thing=0, verb=0, first=17, second=5)
    assert story.english == "mia has 17 apples finds 5 ?"
    assert story.japanese == "みあ は りんご 十七 五 みつける ？ ="
    assert story.result == 22


@pytest.mark.parametrize("number, text", [(0, "〇"), (4, "四"), (10, "十"), (13, "十三"), (20, "二十"), (29, "二十九")])
def test_numbers_are_written_in_kanji(number, text):
    assert kanji(number) == text


def test_every_word_of_every_text_has_a_token_and_no_token_is_twice():
    known = vocabulary()
    assert len(set(known)) == len(known)
    rng = random.Random(1)
    drawn = [make(rng) for make in KINDS.values() for _ in range(2000)]
    used = {token for item in drawn for token in TOKEN.findall(f"{item.prompt} {item.answer}")}
    assert used <= set(known)


def test_about_one_story_in_eight_is_held_out():
    every = list(stories())
    assert sum(story.held_out for story in every) / len(every) == pytest.approx(1 / 8, abs=0.005)


@pytest.mark.parametrize("name", COURSES)
def test_held_out_stories_never_occur_in_training(name):
    stream = items(COURSES[name].mix, random.Random(f"0 {name}"))
    texts = [next(stream) for _ in range(COURSES[name].steps * 64)]
    stems = {text.prompt.rpartition("= ")[2] for text in texts} | {text.prompt for text in texts}
    stems |= {text.answer.rpartition(" ? ")[0] + " ?" for text in texts} | {text.answer for text in texts}
    assert len(stems) > 1000
    assert stems.isdisjoint(HELD_OUT)


def test_stories_asked_for_a_single_number_are_trained_ones_too():
    rng = random.Random(2)
    asked = {item.story for item in (KINDS["language"](rng) for _ in range(5000)) if item.story is not None}
    assert asked and not any(story.held_out for story in asked)


def test_basic_questions_stay_within_the_half_of_the_language_that_the_base_knows():
    rng = random.Random(3)
    drawn = [KINDS[kind](rng) for kind in ("basic_language", "basic_cross") for _ in range(500)]
    words = {word for item in drawn for word in TOKEN.findall(item.prompt)}
    assert not words & {"べん", "すもも", VERBS[2][1], VERBS[3][1], "五", "九"}
    assert {"みあ", "りんご", VERBS[0][1], "四"} <= words


def test_the_shipped_questions_are_those_that_the_script_deals_and_no_story_is_asked_twice():
    seen: list[str] = []
    for name, questions in deal():
        shipped = [json.loads(line) for line in (TASKS / name).read_text("utf-8").splitlines()]
        assert shipped == questions
        assert len(shipped) == FILES[name][0]
        assert {question["prompt"] for question in shipped} <= HELD_OUT
        seen += [question["prompt"] for question in shipped]
    assert len(set(seen)) == len(seen)


def test_prompt_and_answer_split_cleanly():
    story = Story(1, 2, 3, 10, 5)
    prompt, answer = story.japanese, f"{story.english} {story.result}</s>"
    assert ids(f"{prompt} {answer}") == ids(prompt) + ids(answer)
