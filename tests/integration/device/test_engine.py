"""On a GPU the engine answers as lm-eval's HFLM does there, and as on the CPU."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from evaluation.engine.support import FAMILIES
from fixtures.engine import (
    TIGHT,
    Words,
    assert_same_likelihoods,
    assert_same_texts,
    make_model,
    make_requests,
    wrap_both_ways,
)

OPTIONS = {"until": ["?"], "max_gen_toks": 7}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_answers_as_lm_eval_does_on_the_device_and_as_on_the_cpu(family: str, device: str) -> None:
    words, made = Words(), make_model(family)
    choices, prompts = words.choices(6), words.prompts(6, OPTIONS)
    _, own = wrap_both_ways(made)
    likelihoods, texts = own.loglikelihood(choices), own.generate_until(prompts)
    for limits in (None, TIGHT):
        plain, own = wrap_both_ways(made, limits=limits, batch_size=4, device=device)
        assert made.device.type == plain.device.type == device
        assert_same_likelihoods(plain, own, choices)
        assert assert_same_texts(plain, own, prompts) == texts
        found = own.loglikelihood(choices)
        assert [value for value, _ in found] == pytest.approx([value for value, _ in likelihoods], abs=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in likelihoods]


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_rolling_likelihoods_are_those_of_lm_eval(family: str, device: str) -> None:
    words = Words(seed=2)
    requests = make_requests("loglikelihood_rolling", [(words.say(count),) for count in (1, 5, 20, 150, 40)])
    plain, own = wrap_both_ways(make_model(family), limits=TIGHT, device=device)
    expected = plain.loglikelihood_rolling(requests, disable_tqdm=True)
    assert own.loglikelihood_rolling(requests) == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_weights_give_the_same_bits_again(dtype: torch.dtype, device: str) -> None:
    """A release is scored again by another engine, and a cycle that goes on scores what it had scored before."""
    words, made = Words(seed=5), make_model("llama").to(dtype)
    choices, prompts = words.choices(30), words.prompts(40, OPTIONS)
    other = make_model("llama", seed=1).to(device, dtype)
    _, own = wrap_both_ways(made, device=device)
    first = own.loglikelihood(choices), own.generate_until(prompts)
    own.put(other)
    assert own.loglikelihood(choices) != first[0]
    own.put(made)
    assert (own.loglikelihood(choices), own.generate_until(prompts)) == first
    _, fresh = wrap_both_ways(deepcopy(made), device=device)
    assert (fresh.loglikelihood(choices), fresh.generate_until(prompts)) == first


def test_after_a_lack_of_memory_the_engine_answers_as_before(device: str) -> None:
    if device != "cuda":
        pytest.skip("only a GPU's memory can be limited")
    words = Words(seed=6)
    _, own = wrap_both_ways(make_model("llama"), device=device)
    few, many = words.choices(4), words.choices(400)
    before = own.loglikelihood(few)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            own.loglikelihood(many)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert own.loglikelihood(few) == before
    assert len(own.loglikelihood(many)) == len(many)
