"""Model Stock: the sources' mean, pulled towards their base the more their changes disagree."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from merging.specs.method import Customary, GeneRange, Method, Parameter
from merging.specs.search import ByChoice

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs
    from merging.kernels.products import Matrix

_TINY = 1e-6  # products of lengths, and denominators, nearer to zero than this are rounding errors


def model_stock(inputs: Inputs) -> Tensor:
    """t x̄ + (1 - t) b, x̄ the mean of the N sources and t = N cos θ / (1 + (N - 1) cos θ) (Jang et al. 2024).

    cos θ is the mean cosine between the sources' differences from the base b: of whole tensors, or of each vector
    along the last dimension (`filter_wise`). Where t has no finite value the base stays.
    """
    import numpy as np
    import torch

    from merging.kernels.products import gram, row_gram
    from merging.kernels.segments import SEGMENT, merge_by_segment, rows_of, width_of
    from merging.kernels.sums import add_up

    sources = tuple(range(len(inputs.draw.sources)))
    tensors = [inputs.load(source) for source in sources]
    count, width = len(sources), width_of(tensors[0])
    by_row = bool(inputs.shared("filter_wise"))
    cosine = _mean_cosine(row_gram(inputs, sources) if by_row else gram(inputs, sources))
    denominator = 1 + (count - 1) * cosine
    singular = np.abs(denominator) < _TINY
    t = np.where(singular, 0.0, count * cosine / np.where(singular, 1.0, denominator))
    shares = torch.from_numpy(np.atleast_1d(t)).unsqueeze(1)
    of_mean, of_base = (shares / count).float(), (1 - shares).float()

    def merge(parts: list[Tensor], _: list[Tensor], start: int) -> Tensor:
        rows = slice(start // width, None) if by_row else slice(None)
        shape = (-1, width) if by_row else (1, -1)
        mixed = add_up(parts[1:]).view(shape)
        here = slice(rows.start, rows.start + len(mixed)) if by_row else rows
        mixed.mul_(of_mean[here]).add_(parts[0].view(shape).mul_(of_base[here]))
        return mixed.view(-1)

    segment = rows_of(width) if by_row else SEGMENT
    return merge_by_segment(inputs, [inputs.base_tensor(), *tensors], merge, segment=segment)


def _mean_cosine(products: Matrix) -> Matrix:
    """The mean cosine of all pairs of sources; one for each vector where the products are of vectors."""
    import numpy as np

    lengths = np.sqrt([products[source, source] for source in range(len(products))])
    cosines = [
        np.clip(products[one, other] / np.maximum(lengths[one] * lengths[other], _TINY), -1, 1)
        for one, other in combinations(range(len(products)), 2)
    ]
    mean: Matrix = np.mean(cosines, axis=0)
    return mean


METHODS = (
    Method(
        name="model_stock",
        sentence="the average of the sources, pulled back towards the base the more their changes to it differ "
        "in direction (Model Stock)",
        formula=model_stock,
        parameters={"filter_wise": Parameter(0.0, "switch", gene=GeneRange(0, 1))},
        base="required",
        search=ByChoice(),
        customary=Customary("model_stock, all sources", {"filter_wise": 0.0}),
        min_sources=2,
    ),
)
