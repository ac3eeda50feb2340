"""Mixtures of experts: routers see the padding of a batch, which must not change what the other tokens are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from evaluation.engine.batches import BatchLimits
from evaluation.harness.engine_lm import EngineLM
from fixtures.engine import MIXTURES, TIGHT, Words, make_model, wrap_both_ways

pytestmark = pytest.mark.slow


def likelihood_alone(model: Any, own: EngineLM, context: str, continuation: str) -> float:
    """By transformers' own forward of one request, without padding, prefix or cache."""
    before, after = own.tokenizer.encode(context), own.tokenizer.encode(context + continuation)
    tokens = torch.tensor([after])
    with torch.no_grad():
        shares = model(tokens, use_cache=False).logits[0].log_softmax(-1)
    return sum(float(shares[place - 1, after[place]]) for place in range(len(before), len(after)))


@pytest.mark.parametrize("limits", [TIGHT, None], ids=["tight", "roomy"])
@pytest.mark.parametrize("family", MIXTURES)
def test_padding_that_a_router_sees_changes_no_likelihood(family: str, limits: BatchLimits | None) -> None:
    model = make_model(family, positions=200)
    _, own = wrap_both_ways(model, limits=limits)
    requests = Words(seed=5).choices(5)
    assert len({len(request.args[0]) for request in requests}) > 3  # so that rows are padded
    found = [value for value, _ in own.loglikelihood(requests)]
    alone = [likelihood_alone(model, own, *request.args) for request in requests]
    assert found == pytest.approx(alone, abs=1e-4)
    assert len({round(value, 3) for value in found}) > 3
