"""The compiled loops, against torch and numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from merging.errors import MergingError
from merging.kernels import loops
from merging.kernels.arguments import compiled, pointers_to
from merging.kernels.inputs import Draw, Inputs
from merging.kernels.loops import BLOCK
from merging.kernels.sums import Combination, blend
from merging.sources.weights import AdaptedTensor

RANDOM = np.random.default_rng(1)
COUNT = 3 * BLOCK + 17


DTYPES = [(torch.bfloat16,) * 4, (torch.float16,) * 4, (torch.float32, torch.bfloat16, torch.float16, torch.float64)]
"""Of a base and three sources, of which the first two are added in one pass."""


def inputs(sources: list[Tensor], dtype: torch.dtype, base: Tensor | None = None) -> Inputs:
    """Inputs of a merge; with a base, the second source is an adapter's difference from it."""
    names = tuple(f"source {number}" for number in range(len(sources)))
    plain = Inputs({}, lambda number: sources[number], None, Draw(0, "a.weight", names), dtype)
    if base is None:
        return plain
    starts = tuple("base" if number == 1 else name for number, name in enumerate(names))

    def load_adapted(number: int) -> AdaptedTensor | None:
        return AdaptedTensor(base, sources[number]) if number == 1 else None

    return replace(plain, load_base=lambda: base, base="base", starts=starts, load_adapted=load_adapted)


def test_kernels_are_compiled_where_nothing_can_be_kept_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(number: int) -> int:
        return 2 * number

    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    assert compiled(twice)(21) == 42


def bits(tensor: Tensor) -> Tensor:
    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.itemsize])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_number_of_16_bits_is_read_and_written_as_it_is(dtype: torch.dtype) -> None:
    numbers = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(dtype)
    numbers = numbers[torch.isfinite(numbers)].clone()
    wide = blend(inputs([numbers], torch.float32), {0: 1.0}, None)
    assert torch.equal(bits(wide), bits(numbers.float()))
    assert torch.equal(bits(blend(inputs([wide], dtype), {0: 1.0}, None)), bits(numbers))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_is_to_the_nearest_and_of_two_to_the_even_one(dtype: torch.dtype) -> None:
    # Every 2¹² bits: what lies on, between and halfway between neighbours of either format, below the normal ones too.
    numbers = torch.arange(0, 1 << 31, 1 << 12, dtype=torch.int64).to(torch.int32).view(torch.float32)
    numbers = torch.cat([numbers, -numbers, torch.from_numpy(RANDOM.standard_normal(100_000)).float()])
    numbers = numbers[torch.isfinite(numbers.to(dtype))]
    assert torch.equal(bits(blend(inputs([numbers], dtype), {0: 1.0}, None)), bits(numbers.to(dtype)))


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float16, 65519.0), (torch.bfloat16, 3.396e38)])
def test_what_would_be_rounded_to_infinity_is_refused(dtype: torch.dtype, largest: float) -> None:
    for place in (0, COUNT - 1):
        numbers = torch.zeros(COUNT)
        numbers[place] = -largest
        assert blend(inputs([numbers], dtype), {0: 1.0}, None)[place] == torch.finfo(dtype).min
        for wrong in (largest * 1.0002, torch.inf, torch.nan):
            numbers[place] = wrong
            with pytest.raises(MergingError, match="the merge is not finite"):
                blend(inputs([numbers], dtype), {0: 1.0}, None)


@pytest.mark.parametrize("dtypes", DTYPES)
def test_sums_round_after_every_product_and_every_sum_as_torch_does(dtypes: tuple[torch.dtype, ...]) -> None:
    base, *sources = (torch.from_numpy(RANDOM.standard_normal(COUNT)).to(dtype) for dtype in dtypes)
    weights = (0.3, -0.7, 1.1)
    rule = Combination(divisor=0.7, scale=1.3)
    for is_difference in (False, True):
        given = inputs(sources, torch.float32, base if is_difference else None)
        expected = torch.zeros(COUNT)
        for number, (source, weight) in enumerate(zip(sources, weights, strict=True)):
            start = torch.zeros(COUNT) if is_difference and number == 1 else base.float()
            expected = expected + (source.float() - start) * weight
        merged = blend(given, dict(enumerate(weights)), base, rule=rule)
        assert torch.equal(merged, expected / 0.7 * 1.3 + base.float())


@pytest.mark.parametrize("dtypes", DTYPES)
def test_elections_sum_up_what_has_the_sign_of_the_whole(dtypes: tuple[torch.dtype, ...]) -> None:
    base, *sources = (torch.from_numpy(RANDOM.integers(-3, 4, COUNT)).to(dtype) for dtype in dtypes)
    weights = torch.tensor([0.5, 0.25, -0.75])
    for is_difference in (False, True):
        starts = torch.stack([base.float(), base.float() * (not is_difference), base.float()])
        differences = (torch.stack([one.float() for one in sources]) - starts) * weights[:, None]
        sign = torch.where(differences.sum(0) >= 0, 1, -1)
        taken = differences * sign > 0
        total, divisor = (differences * taken).sum(0), (weights[:, None] * taken).sum(0)
        merge = inputs(sources, torch.float32, base if is_difference else None)
        given = merge, dict(enumerate(weights.tolist())), base
        assert torch.equal(blend(*given, rule=Combination(elect=True)), total + base.float())
        shared = total / torch.where(divisor == 0, 1, divisor) + base.float()
        assert torch.equal(blend(*given, rule=Combination(elect=True, by_weight=True)), shared)


def test_scalar_products_are_those_of_numpy() -> None:
    tensors = [torch.from_numpy(RANDOM.standard_normal(COUNT)).bfloat16() for _ in range(4)]
    base, *sources = tensors
    for bases in ([], [base]):
        found = np.zeros((3, 3))
        loops.products(pointers_to(sources), pointers_to(bases), 0, COUNT, found)
        rows = np.stack([source.double().numpy() - sum(base.double().numpy() for base in bases) for source in sources])
        np.testing.assert_allclose(found, np.triu(rows @ rows.T), rtol=1e-12)
