"""Multi-SLERP: a mean of many models' directions, with their lengths averaged separately."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from merging.errors import MergingError
from merging.specs.method import NOT_NEGATIVE, ON, RATIO, Customary, Method, Parameter, check_weight_sum
from merging.specs.search import ByRatio

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs
    from merging.kernels.products import Vector


def multislerp(inputs: Inputs) -> Tensor:
    """|x| · m / |m| with m = Σ wᵢ xᵢ / |xᵢ| and |x| = Σ wᵢ |xᵢ|, of differences from a base if there is one.

    Goddard's Multi-SLERP goes to the tangent space at m / |m|, averages there and comes back by the exponential
    map. But the tangents at the mean of the directions sum to nothing, so it is that mean, with the weighted
    mean length. `eps` is added to each length; weights are divided by their sum unless `normalize_weights` is off;
    if all of them are 0 then, the result is 0, or the base.
    """
    import numpy as np

    from merging.kernels.sums import weighted_sum

    given = {source: weight for source, weight in enumerate(inputs.values["weight"]) if weight}
    sources = tuple(given)
    if len(inputs.values["weight"]) == 1 or (len(sources) == 1 and inputs.shared("normalize_weights")):
        return weighted_sum(inputs, dict.fromkeys(sources or (0,), 1.0))
    if not sources:
        return weighted_sum(inputs, {0: 0.0}, of_differences=inputs.load_base is not None)
    weights = np.array(list(given.values()))
    weights = weights / weights.sum() if inputs.shared("normalize_weights") else weights
    found = dict(zip(sources, map(float, _factors(inputs, sources, weights)), strict=True))
    return weighted_sum(inputs, found, of_differences=inputs.load_base is not None)


def _factors(inputs: Inputs, sources: tuple[int, ...], weights: Vector) -> Vector:
    """The factor of each source in the merged tensor; MergingError if their directions cancel out."""
    import numpy as np

    from merging.kernels.products import gram

    products, eps = gram(inputs, sources), inputs.shared("eps")
    lengths = np.sqrt(np.diag(products))
    factors: Vector = weights / (lengths + eps)
    length = math.sqrt(max(0.0, float(factors @ products @ factors)))
    if length >= eps and length > 0:
        return factors / length * float(lengths @ weights)
    if len(sources) == 2 or not products.any():  # what vanishes everywhere has no direction, and needs none
        return weights
    name = inputs.draw.tensor_name
    raise MergingError(f"tensor {name}: parameters.weight: the directions cancel out: use other weights")


METHODS = (
    Method(
        name="multislerp",
        sentence="an average of the sources' directions, at their average length (Multi-SLERP)",
        formula=multislerp,
        parameters={"weight": RATIO, "normalize_weights": ON, "eps": Parameter(1e-8, allowed=NOT_NEGATIVE)},
        base="optional",
        search=ByRatio(),
        customary=Customary("multislerp, equal weights", {"weight": 1.0}),
        check=check_weight_sum("normalize_weights"),
    ),
)
