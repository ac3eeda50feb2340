"""Thresholds without sorting, against sorting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from merging.kernels.segments import SEGMENT
from merging.kernels.thresholds import MeasuredSizes, find_thresholds

COUNT = 3 * SEGMENT + 12_345
RANDOM = np.random.default_rng(1)
SHAPES = {
    "all different": RANDOM.standard_normal(COUNT),
    "many equal": RANDOM.integers(0, 40, COUNT),
    "mostly zero": RANDOM.standard_normal(COUNT) * (RANDOM.random(COUNT) < 0.05),
    "all equal": np.full(COUNT, 0.25),
    "ascending, so that the sample's neighbours are alike": np.arange(COUNT),
    "of every size": 10.0 ** RANDOM.uniform(-44, 38, COUNT),
    "shorter than a segment": RANDOM.integers(0, 40, 1000),
    "a single element": np.ones(1),
}


def largest_by_sorting(sizes: np.ndarray, kept: int) -> np.ndarray:
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[np.argsort(-sizes, kind="stable")[:kept]] = True
    return chosen


@pytest.mark.parametrize("name", SHAPES)
def test_exactly_the_largest_are_kept_and_of_equals_the_first(name: str) -> None:
    values = SHAPES[name].astype(np.float32)
    count = len(values)
    numbers = sorted({1, max(1, count // 1000), max(1, count // 5), max(1, count // 2), max(1, count - 1), count})
    found = find_thresholds("x", MeasuredSizes([torch.from_numpy(values)], lambda parts: parts[0].abs_()), numbers)
    for number, threshold in zip(numbers, found, strict=True):
        expected = values * largest_by_sorting(np.abs(values), number)
        for start in range(0, count, SEGMENT):
            segment = torch.from_numpy(values[start : start + SEGMENT].copy())
            threshold.keep(segment, start)
            np.testing.assert_array_equal(segment.numpy(), expected[start : start + SEGMENT])


def test_a_misleading_sample_costs_time_but_not_exactness(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.from_numpy(SHAPES["all different"].astype(np.float32)).abs()
    wanted = find_thresholds("x", MeasuredSizes([values], lambda parts: parts[0]), [1000])
    misled = np.full(1 << 15, 1e-3, dtype=np.float32)
    monkeypatch.setattr("merging.kernels.thresholds._sampled", lambda *_: misled)
    assert find_thresholds("x", MeasuredSizes([values], lambda parts: parts[0]), [1000]) == wanted
