"""Weighted means of models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from merging.specs.method import ON, RATIO, Customary, Method, check_weight_sum
from merging.specs.search import ByRatio

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs


def linear(inputs: Inputs) -> Tensor:
    """Σ wᵢ xᵢ / Σ wᵢ, or the sum alone where `normalize` is off (Wortsman et al. 2022, model soups).

    A single source with a weight comes back bit for bit where weights are normalised.
    """
    import torch

    from merging.kernels.sums import weighted_sum

    weights = inputs.values["weight"]
    whole = math.fsum(weights) if inputs.shared("normalize") else 1.0
    shares = {source: weight / whole for source, weight in enumerate(weights) if weight}
    if not shares:
        return torch.zeros_like(inputs.load(0), dtype=inputs.dtype)
    return weighted_sum(inputs, shares)


METHODS = (
    Method(
        name="linear",
        sentence="a weighted average of the sources' weights",
        formula=linear,
        parameters={"weight": RATIO, "normalize": ON},
        base="ignored",
        search=ByRatio(),
        customary=Customary("linear mean", {"weight": 1.0}),
        skips_unweighted=True,
        check=check_weight_sum("normalize"),
    ),
)
