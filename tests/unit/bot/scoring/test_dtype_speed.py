"""A dtype that the processor is slow with, on a processor whose newer instructions are switched off."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bot.scoring.dtype_speed import describe_slow_dtype

SAY = "from bot.scoring.dtype_speed import describe_slow_dtype; print(describe_slow_dtype('bfloat16', 'cpu'))"


@pytest.mark.slow
def test_a_dtype_without_instructions_of_its_own_is_called_slow() -> None:
    """oneDNN, which computes torch's products, can be held to older instructions; bfloat16 has none among them."""
    older = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    said = subprocess.run([sys.executable, "-c", SAY], env=older, capture_output=True, text=True, check=True).stdout
    assert said.startswith("search.dtype: bfloat16 takes ") and "write float32" in said


@pytest.mark.parametrize(("ratio", "slow"), [(0.5, False), (1.49, False), (1.5, True), (4.0, True)])
def test_only_what_takes_half_as_long_again_is_slow(monkeypatch: pytest.MonkeyPatch, ratio: float, slow: bool) -> None:
    monkeypatch.setattr("bot.scoring.dtype_speed.measure_slowness", lambda _dtype: ratio)
    said = describe_slow_dtype("float16", "cpu")
    assert (said is not None) == slow and (said is None or f"float16 takes {ratio:.1f} ×" in said)
    assert describe_slow_dtype("float32", "cpu") is None and describe_slow_dtype("bfloat16", "cuda") is None
