"""lm-eval's own model class is the reference: the engine must give the same answers to every kind of request."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

import zoo
from evaluation.engine.batches import BatchLimits
from evaluation.engine.stops import StopStrings
from evaluation.engine.support import FAMILIES
from evaluation.engine.tree import Cut
from evaluation.harness.engine_lm import EngineLM
from evaluation.harness.eval_set import LmEvalSet
from evaluation.harness.lm import PlainLM
from evaluation.harness.loading import load_tasks
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.engine import (
    TEXT,
    TIGHT,
    Words,
    assert_same_likelihoods,
    assert_same_texts,
    make_model,
    make_requests,
    make_tokenizer,
    wrap_both_ways,
)
from zoo.repo import LANGUAGE, MODELS

pytestmark = pytest.mark.slow

GRID = ("llama", "qwen3", "gemma2", "gemma3_text", "gpt2", "mistral")
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
EITHER = pytest.mark.parametrize(("kind", "limits"), [("bytes", None), ("words", TIGHT)], ids=["bytes", "words, tight"])


def prefixes_of(own: EngineLM) -> int:
    """Prefixes in the latest plan, but the empty one."""
    _, _, plan = own.engine.plans._entries[-1]
    return len(plan.prefixes) - 1


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_answers_as_with_lm_eval(family: str) -> None:
    words = Words()
    plain, own = wrap_both_ways(make_model(family), limits=TIGHT, batch_size=4)
    assert_same_likelihoods(plain, own, words.choices(6))
    assert prefixes_of(own) > 0
    assert_same_texts(plain, own, words.prompts(6, {"until": ["?"], "max_gen_toks": 7}))
    assert prefixes_of(own) > 0


@EITHER
@pytest.mark.parametrize("family", GRID)
def test_likelihoods_are_those_of_lm_eval(family: str, kind: str, limits: BatchLimits | None) -> None:
    words = Words(seed=1)
    plain, own = wrap_both_ways(make_model(family), kind, limits)
    odd = [
        ("", words.say(3)),  # no context
        ("the cat ", "sat on"),  # a space at the border
        ("the cat", " sat on the mat"),
        ("the cat", " sat"),  # the beginning of another's
        (words.say(90), f" {words.say(3)}"),  # more than the model's positions
        (words.say(2), f" {words.say(40)}"),
    ]
    assert_same_likelihoods(plain, own, words.choices(8) + make_requests("loglikelihood", odd))
    assert_same_likelihoods(plain, own, make_requests("loglikelihood", odd[:1]))


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma2", "gemma3_text"])
def test_rolling_likelihoods_are_those_of_lm_eval(family: str) -> None:
    words = Words(seed=2)
    requests = make_requests("loglikelihood_rolling", [(words.say(count),) for count in (1, 5, 20, 150, 40)])
    for limits in (None, TIGHT):
        plain, own = wrap_both_ways(make_model(family), limits=limits)
        expected = plain.loglikelihood_rolling(requests, disable_tqdm=True)
        assert own.loglikelihood_rolling(requests) == pytest.approx(expected, rel=1e-5, abs=1e-4)


@EITHER
@pytest.mark.parametrize("family", GRID)
def test_generated_texts_are_those_of_lm_eval(family: str, kind: str, limits: BatchLimits | None) -> None:
    words = Words(seed=3)
    plain, own = wrap_both_ways(make_model(family), kind, limits)
    options: list[dict[str, Any]] = [
        {"until": ["?", "\n"], "max_gen_toks": 9},
        {"until": ["the c", "at", "an"], "max_gen_toks": 12, "do_sample": False, "temperature": 0.7},
        {"until": "a ", "max_new_tokens": 8},
        {"until": [], "max_gen_toks": 1},
    ]
    several = [request for some in options for request in words.prompts(4, some)]
    long = make_requests("generate_until", [(words.say(count), options[0]) for count in (90, 40, 1)])
    assert_same_texts(plain, own, several + long)
    assert_same_texts(plain, own, long[:1])


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_stop_strings_are_found_across_the_borders_of_tokens(kind: str) -> None:
    """Every piece of two to five characters of the free answer is tried as a stop string."""
    prompt = "the cat sat on"
    plain, own = wrap_both_ways(make_model("llama"), kind)
    (free,) = plain.generate_until(make_requests("generate_until", [(prompt, {"until": [], "max_gen_toks": 12})]), True)
    pieces = sorted({free[start : start + size] for start in range(len(free)) for size in (2, 3, 5)})
    options = [{"until": [piece], "max_gen_toks": 12} for piece in pieces]
    texts = assert_same_texts(plain, own, make_requests("generate_until", [(prompt, option) for option in options]))
    borders = [text for text in texts if text != free]
    assert len(borders) > 10


def test_only_a_token_with_a_stops_last_character_is_looked_at() -> None:
    coded = make_tokenizer("bytes")
    looked: list[list[int]] = []

    class Watched:
        encode = staticmethod(coded.encode)

        @staticmethod
        def decode(tokens: list[int]) -> str:
            if len(tokens) > 1:
                looked.append(tokens)
            return str(coded.decode(tokens))

    stops = StopStrings(Watched(), ["t?"])
    answer = coded.encode("the cat ran to the cat? yes")
    reached = [stops.reached(answer[: end + 1]) for end in range(len(answer))]
    assert coded.decode(answer[: reached.index(True) + 1]).endswith("cat?")
    assert len(looked) == sum("?" in coded.decode([token]) for token in answer[1:]) > 0


def test_whether_an_answer_ended_by_itself_is_known_in_every_batch() -> None:
    made = make_model("llama")
    requests = Words(seed=4).prompts(24, {"until": ["t", "?"], "max_gen_toks": 4})
    _, own = wrap_both_ways(made, limits=TIGHT)
    texts = own.generate_until(requests)
    ended = [own.stopped(request) for request in requests]
    assert set(ended) == {True, False}
    for request, text, end in zip(requests, texts, ended, strict=True):
        prompt = make_tokenizer("bytes")(request.args[0], return_tensors="pt")["input_ids"]
        tokens = made.generate(prompt, max_new_tokens=4, do_sample=False)[0, prompt.shape[1] :].tolist()
        full = make_tokenizer("bytes").decode(tokens)
        assert end == (2 in tokens or "t" in full or "?" in full)
        assert full.startswith(text)


def test_the_same_weights_give_the_same_answers_whatever_came_before() -> None:
    words = Words(seed=5)
    choices, prompts = words.choices(10), words.prompts(10, {"until": ["."], "max_gen_toks": 6})
    made, other = make_model("qwen3"), {name: w * 1.1 for name, w in make_model("qwen3").state_dict().items()}
    own_weights = {name: weight.clone() for name, weight in made.state_dict().items()}
    _, own = wrap_both_ways(made)
    first = own.loglikelihood(choices), own.generate_until(prompts)
    made.load_state_dict(other)
    second = own.loglikelihood(choices), own.generate_until(prompts)
    made.load_state_dict(own_weights)
    assert (own.loglikelihood(choices), own.generate_until(prompts)) == first != second
    fresh = wrap_both_ways(made)[1]
    assert (fresh.loglikelihood(choices), fresh.generate_until(prompts)) == first
    assert len(own.tokenized) == len(own.engine.plans) == 2  # of each kind


def test_one_engine_answers_for_models_of_every_depth() -> None:
    words = Words(seed=8)
    choices, prompts = words.choices(10), words.prompts(10, {"until": ["."], "max_gen_toks": 6})
    models = [make_model("gemma2", layers=layers) for layers in (2, 5, 3)]
    own = wrap_both_ways(models[0])[1]
    for made in (*models, models[0]):
        own.put(made)
        fresh = wrap_both_ways(made)[1]
        assert own.loglikelihood(choices) == fresh.loglikelihood(choices)
        assert own.generate_until(prompts) == fresh.generate_until(prompts)


def test_requests_are_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Words(seed=6)
    _, own = wrap_both_ways(make_model("llama"))
    choices, prompts = words.choices(5), words.prompts(5, {"until": ["."], "max_gen_toks": 6})
    first = own.loglikelihood(choices), own.generate_until(prompts)
    for name in ("tok_encode", "tok_batch_encode"):
        monkeypatch.setattr(HFLM, name, None)
    assert (own.loglikelihood(choices), own.generate_until(prompts)) == first


def test_shared_tokens_go_through_the_model_once() -> None:
    """8 questions share examples of 12 words, and choices share their question; tokens are counted at the embedding."""
    made, seen = make_model("llama"), 0

    def count(_module: Any, inputs: tuple[torch.Tensor]) -> None:
        nonlocal seen
        seen += inputs[0].numel()

    requests = Words(seed=7).choices(8)
    _, own = wrap_both_ways(made)
    own.engine.limits = BatchLimits(10**6, 10**6, 10**6, Cut(40, 64), Cut(0, 64))
    pairs = own.pairs(requests)
    made.get_input_embeddings().register_forward_pre_hook(count)
    own.loglikelihood(requests)
    assert seen < 0.4 * sum(len(context) + len(continuation) - 1 for context, continuation in pairs)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_rows_that_are_read_in_pieces_are_answered_as_lm_eval_does(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.engine.rows.MASK_CELLS", 500)
    made, widths = make_model(family), list[int]()
    words = Words(seed=15)
    rolling = make_requests("loglikelihood_rolling", [(words.say(count),) for count in (1, 20, 150)])
    for limits in (None, TIGHT):
        plain, own = wrap_both_ways(made, limits=limits)
        assert_same_likelihoods(plain, own, words.choices(6))
        assert_same_texts(plain, own, words.prompts(6, {"until": ["?"], "max_gen_toks": 7}))
        expected = plain.loglikelihood_rolling(rolling, disable_tqdm=True)
        count = made.get_input_embeddings().register_forward_pre_hook(
            lambda _, inputs: widths.append(inputs[0].shape[1])
        )
        assert own.loglikelihood_rolling(rolling) == pytest.approx(expected, rel=1e-5, abs=1e-4)
        count.remove()
    assert max(widths) < 30  # windows have 96 tokens


def test_finished_answers_are_dropped_from_their_batch() -> None:
    """Counted at the embedding: never more than a quarter of a step's rows have their answer already."""
    made, rows = make_model("llama"), list[int]()
    every = Words(seed=13)
    requests = [prompt for limit in range(1, 17) for prompt in every.prompts(1, {"until": [], "max_gen_toks": limit})]
    _, own = wrap_both_ways(made)
    own.engine.limits = BatchLimits(10**6, 10**6, 10**6, Cut(40, 64), Cut(0, 64))
    prompts = [prompt for prompt in own.greedy_prompts(requests) if prompt is not None]
    made.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    lengths = [len(answer.tokens) for answer in own.engine.generate(prompts, frozenset(own._end_tokens))]
    steps = max(lengths) - 1
    going_on = [sum(length > step for length in lengths) for step in range(1, steps + 1)]
    assert len(set(going_on)) > 10
    for count, alive in zip(rows[-steps:], going_on, strict=True):
        assert 0.75 * count <= alive <= count


def test_a_model_of_repeated_blocks_is_answered_as_lm_eval_does() -> None:
    short, deep = make_model("llama", layers=2), make_model("llama", layers=5)
    for index, block in enumerate(deep.model.layers):
        block.load_state_dict(short.model.layers[index % 2].state_dict())
    words = Words(seed=8)
    plain, own = wrap_both_ways(deep, limits=TIGHT)
    assert_same_likelihoods(plain, own, words.choices(6))
    assert_same_texts(plain, own, words.prompts(6, {"until": ["?"], "max_gen_toks": 7}))


def test_half_precision_answers_stay_close() -> None:
    words = Words(seed=9)
    plain, own = wrap_both_ways(make_model("llama").to(torch.bfloat16))
    requests = words.choices(6)
    expected = [value for value, _ in plain.loglikelihood(requests, disable_tqdm=True)]
    assert [value for value, _ in own.loglikelihood(requests)] == pytest.approx(expected, rel=0.03)


def test_a_likelihood_does_not_depend_on_the_other_requests() -> None:
    """lm-eval's cache of one-token continuations mixes up requests with the same text but another border."""
    pairs = make_requests("loglikelihood", [("the cat", " sat on"), ("the cat sat", " on"), ("the cat", " sat on the")])
    plain, own = wrap_both_ways(make_model("llama"))
    alone = [plain.loglikelihood([request], disable_tqdm=True)[0][0] for request in pairs]
    assert [value for value, _ in own.loglikelihood(pairs)] == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    ("made", "refused", "generation_refused"),
    [
        (
            lambda: make_model("llama", rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
            "rope",
            "rope",
        ),
        (lambda: make_model("bloom", n_head=4, n_layer=2), "model type bloom", "model type bloom"),
        (lambda: limited(repetition_penalty=1.5), None, "repetition_penalty"),
    ],
    ids=["dynamic rope", "alibi", "repetition penalty"],
)
def test_unsupported_models_and_requests_are_left_to_lm_eval(
    made: Any, refused: str | None, generation_refused: str
) -> None:
    words = Words(seed=10)
    built = made()
    own = EngineLM(built, make_tokenizer("bytes"), "cpu", 4)
    assert (own.engine.refused is None) == (refused is None) and (refused or "") in (own.engine.refused or "")
    assert generation_refused in (own.engine.generation_refused or "")
    plain = HFLM(pretrained=built, tokenizer=make_tokenizer("bytes"), batch_size=4)
    assert_same_likelihoods(plain, own, words.choices(4))
    assert_same_texts(plain, own, words.prompts(4, {"until": ["?"], "max_gen_toks": 5}))
    rolling = make_requests("loglikelihood_rolling", [(TEXT,)])
    expected = plain.loglikelihood_rolling(rolling, disable_tqdm=True)
    assert own.loglikelihood_rolling(rolling) == pytest.approx(expected, rel=1e-5)


def limited(**settings: Any) -> Any:
    made = make_model("llama")
    for key, value in settings.items():
        setattr(made.generation_config, key, value)
    return made


def test_beams_are_left_to_lm_eval_among_greedy_requests() -> None:
    words = Words(seed=11)
    plain, own = wrap_both_ways(make_model("llama"))
    beams = words.prompts(2, {"until": ["?"], "max_gen_toks": 5, "num_beams": 3})
    greedy = words.prompts(2, {"until": ["?"], "max_gen_toks": 5})
    assert_same_texts(plain, own, [beams[0], greedy[0], beams[1], greedy[1]])
    assert None not in [own.stopped(request) for request in beams + greedy]


def test_a_models_own_limit_of_new_tokens_counts_before_the_tasks() -> None:
    plain, own = wrap_both_ways(limited(max_new_tokens=3))
    texts = assert_same_texts(plain, own, Words(seed=12).prompts(3, {"until": [], "max_gen_toks": 8}))
    assert [len(make_tokenizer("bytes")(text)["input_ids"]) <= 4 for text in texts] == [True] * 3


@pytest.mark.parametrize(
    ("kind", "request_of", "message"),
    [
        ("loglikelihood", ("the cat", ""), "no tokens"),
        ("loglikelihood", ("the cat", " sat" * 200), r"\(\d+\) tokens, the model takes \(96\)"),
        ("generate_until", ("the cat", {"until": [], "max_gen_toks": 96}), r"\(96\)"),
    ],
)
def test_requests_too_long_for_the_model_are_refused_as_in_lm_eval(kind: str, request_of: Any, message: str) -> None:
    plain, own = wrap_both_ways(make_model("llama"))
    for lm in (plain, own):
        with pytest.raises(AssertionError, match=message if lm is own else None):
            getattr(lm, kind)(make_requests(kind, [request_of]))


def test_the_demos_tasks_have_the_same_scores_either_way() -> None:
    """Real weights, real tasks: every item's score and flag, through lm-eval's filters and metrics."""
    skills = [
        Skill("sums", (SkillTask("zoo_math_en", "acc"), SkillTask("zoo_math_ja", "acc"))),
        Skill("stories", (SkillTask("zoo_translation", "exact_match", "statement"),)),
    ]
    folder = MODELS[LANGUAGE]
    coded = AutoTokenizer.from_pretrained(folder)
    loaded = load_tasks(skills, [Path(zoo.__file__).parent / "tasks"])
    eval_set = LmEvalSet.build(skills, loaded, Split.SEARCH, SplitSizes(40, 40, 40), 1, coded)
    weights = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = eval_set.score(EngineLM(weights, coded, "cpu", 16))
    assert found == eval_set.score(PlainLM(weights, coded, "cpu", 16))
    assert {score.value for score in found} == {0.0, 1.0}
