"""A set of requests that is asked in parts: the answers of the whole, with what the parts share computed once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from evaluation.engine.batches import BatchLimits
from evaluation.engine.tree import Cut
from evaluation.harness.engine_lm import EngineLM
from fixtures.engine import TIGHT, Words, make_model, wrap_both_ways

pytestmark = pytest.mark.slow

ROOMY = BatchLimits(10**6, 10**6, 10**6, Cut(0, 16), Cut(0, 16), reading=0)
ASKED = ("loglikelihood", "loglikelihood_rolling", "generate_until")


def requests_of(kind: str) -> tuple[list[Instance], list[list[Instance]]]:
    """Requests behind the same examples, and the same in three parts."""
    words = Words(seed=3)
    if kind == "loglikelihood":
        made = words.choices(9)
        return made, [made[:4], made[4:13], made[13:]]
    made = words.prompts(12, {"until": ["."], "max_gen_toks": 6})
    if kind == "loglikelihood_rolling":
        made = [Instance(kind, {}, (request.args[0],), 0, task_name="tiny", doc_id=0) for request in made]
    return made, [made[:2], made[2:5], made[5:]]


def ask(own: EngineLM, kind: str, part: list[Instance], whole: list[Instance]) -> list[Any]:
    with own.asking_part_of(whole):
        answers: list[Any] = getattr(own, kind)(part)
    return answers


class Counter:
    """Counts the tokens that go through a model, at its embedding."""

    def __init__(self, model: Any) -> None:
        self.tokens = 0
        model.get_input_embeddings().register_forward_pre_hook(self._count)

    def _count(self, _module: Any, inputs: tuple[torch.Tensor]) -> None:
        self.tokens += inputs[0].numel()

    def take(self) -> int:
        counted, self.tokens = self.tokens, 0
        return counted


@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize("limits", [TIGHT, ROOMY], ids=["tight", "roomy"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mixtral"])
def test_parts_have_the_answers_of_the_whole_whatever_was_asked_before(
    family: str, limits: BatchLimits, kind: str
) -> None:
    made = make_model(family)
    whole, parts = requests_of(kind)
    _, own = wrap_both_ways(made, limits=limits)
    together, apart = getattr(own, kind)(whole), [ask(own, kind, part, whole) for part in parts]
    flat = [answer for part in apart for answer in part]
    if kind == "loglikelihood":
        assert [exact for _, exact in flat] == [exact for _, exact in together]
        flat, together = [total for total, _ in flat], [total for total, _ in together]
    assert flat == (together if kind == "generate_until" else pytest.approx(together, abs=1e-3))
    # To the last bit: a search that is resumed asks a later part first.
    assert ask(wrap_both_ways(made, limits=limits)[1], kind, parts[2], whole) == apart[2]


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until"])  # every token of a rolling one needs its logits
def test_what_parts_share_is_computed_once_until_the_weights_change(kind: str) -> None:
    made = make_model("llama")
    whole, parts = requests_of(kind)
    _, own = wrap_both_ways(made, limits=ROOMY)
    counter = Counter(made)
    getattr(own, kind)(whole)
    at_once = counter.take()
    for part in parts:
        ask(own, kind, part, whole)
    in_parts = counter.take()
    assert in_parts <= 1.1 * at_once
    before = ask(own, kind, parts[1], whole)
    alone = counter.take()
    with torch.no_grad():
        made.get_output_embeddings().weight.mul_(-1)
        made.get_input_embeddings().weight.add_(0.5)
    own.put(made)
    own.engine.limits = ROOMY
    after = ask(own, kind, parts[1], whole)
    assert counter.take() > alone or kind == "generate_until"  # other answers are of other lengths
    assert after != before and after == ask(wrap_both_ways(made, limits=ROOMY)[1], kind, parts[1], whole)


def test_a_part_costs_the_tokens_that_go_through_the_model() -> None:
    made = make_model("llama")
    _, own = wrap_both_ways(made, limits=ROOMY)
    counter = Counter(made)
    for kind in ASKED[:2]:
        whole, parts = requests_of(kind)
        expected = own.costs(parts, whole)
        for part, cost in zip(parts, expected, strict=True):
            ask(own, kind, part, whole)
            assert counter.take() == cost
    whole, parts = requests_of("generate_until")
    expected = own.costs(parts, whole)
    for part, cost in zip(parts, expected, strict=True):
        ask(own, "generate_until", part, whole)
        assert 0.5 * cost < counter.take() <= cost
    own.engine.limits = replace(ROOMY, reading=10)
    assert all(more > less for more, less in zip(own.costs(parts, whole), expected, strict=True))


def test_only_so_many_prefixes_are_kept_as_there_is_room_for() -> None:
    """Two tasks with examples of their own; without room the second one's prefix takes the place of the first one's."""
    made = make_model("llama")
    first, second = Words(seed=3).choices(6), Words(seed=4).choices(6)
    parts = [first[::2] + second[::2], first[1::2] + second[1::2]]
    taken = []
    for cache in (10**6, 0):
        _, own = wrap_both_ways(made, limits=replace(ROOMY, cache=cache))
        counter = Counter(made)
        for part in parts:
            ask(own, "loglikelihood", part, first + second)
        taken.append(counter.take())
    assert taken[0] < taken[1]
