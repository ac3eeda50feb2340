"""One model's tensors as they are, for stacks of layers from several models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from merging.specs.method import Customary, Method, Parameter

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs


def passthrough(inputs: Inputs) -> Tensor:
    """s x, the single source's tensor times `scale`, for layers stacked from several models (mergekit)."""
    from merging.kernels.sums import weighted_sum

    (scale,) = inputs.values["scale"]
    return weighted_sum(inputs, {0: scale})


METHODS = (
    Method(
        name="passthrough",
        sentence="the weights of its one source, multiplied by a factor (scale)",
        formula=passthrough,
        parameters={"scale": Parameter(1.0, per_source=True)},
        base="ignored",
        customary=Customary("passthrough", {"scale": 1.0}),
        # merging.paths searches layers of several models, each with its scale.
        unsearched="the layers of its one source are searched as paths, not as weight merges",
        max_sources=1,
    ),
)
