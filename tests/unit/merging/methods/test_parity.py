"""Every method that draws nothing against mergekit's own function, on random tensors and on trained ones.

mergekit runs in float64, which its functions allow: in float32 some of them lose more than is compared here.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fixtures.folders import ZOO_WEIGHTS
from merging.kernels.inputs import Draw, Inputs, Measurements
from merging.methods import METHODS

registry = pytest.importorskip("mergekit.merge_methods.registry")

Given = Mapping[str, tuple[float, ...]]
WEIGHTS = (0.7, 0.4, 0.35)
DENSITIES = (0.3, 0.6, 0.9)
ZOO = ZOO_WEIGHTS

CASES: list[tuple[str, bool, dict[str, tuple[float, ...]]]] = [
    ("linear", False, {"weight": WEIGHTS}),
    ("linear", False, {"weight": WEIGHTS, "normalize": (0,)}),
    ("slerp", False, {"t": (0.35,)}),
    ("nuslerp", False, {"weight": (0.7, 0.4)}),
    ("nuslerp", True, {"weight": (0.7, 0.4)}),
    ("nuslerp", True, {"weight": (0.7, 0.4), "nuslerp_flatten": (0,)}),
    ("nuslerp", False, {"weight": (0.7, 0.4), "nuslerp_flatten": (0,), "nuslerp_row_wise": (1,)}),
    ("nuslerp", True, {"weight": (0.7, -0.7), "nuslerp_flatten": (0,), "nuslerp_row_wise": (1,)}),
    ("multislerp", False, {"weight": WEIGHTS}),
    ("multislerp", True, {"weight": WEIGHTS}),
    ("multislerp", True, {"weight": WEIGHTS, "normalize_weights": (0,), "eps": (1e-6,)}),
    ("karcher", False, {}),
    ("karcher", False, {"max_iter": (3,), "tol": (1e-7,)}),
    ("task_arithmetic", True, {"weight": WEIGHTS}),
    ("task_arithmetic", True, {"weight": WEIGHTS, "normalize": (1,), "lambda": (0.7,)}),
    ("ties", True, {"weight": WEIGHTS, "density": DENSITIES}),
    ("ties", True, {"weight": (0.7, -0.4, 0.35), "density": DENSITIES, "rescale": (1,), "lambda": (1.3,)}),
    ("ties", True, {"weight": WEIGHTS, "density": (0.0, 1e-9, 1.0), "normalize": (0,)}),
    ("breadcrumbs", True, {"weight": WEIGHTS, "density": DENSITIES}),
    ("breadcrumbs", True, {"weight": WEIGHTS, "density": (0.3, 0.6, 0.95), "gamma": (0.1, 0, 0.2), "rescale": (1,)}),
    ("breadcrumbs_ties", True, {"weight": WEIGHTS, "density": DENSITIES, "gamma": (0.05, 0.01, 0), "normalize": (1,)}),
    ("sce", True, {}),
    ("sce", True, {"select_topk": (0.3,)}),
    ("sce", True, {"select_topk": (0,)}),
    ("model_stock", True, {}),
    ("model_stock", True, {"filter_wise": (1,)}),
    ("nearswap", False, {"t": (0.001,)}),
    ("nearswap", False, {"t": (0,)}),
    ("arcee_fusion", False, {}),
    ("ram", True, {}),
    ("ram", True, {"epsilon": (0.003,)}),
    ("ramplus_tl", True, {"epsilon": (0.003,)}),
    ("ramplus_tl", True, {"epsilon": (0.003,), "r": (0.5,), "alpha": (3,)}),
    ("passthrough", False, {"scale": (0.7,)}),
]


def ours(
    method: str, sources: list[Tensor], base: Tensor | None, given: Given, kept: Measurements | None = None
) -> Tensor:
    names = tuple(f"source {number}" for number in range(len(sources)))
    defaults = {
        name: (parameter.default,) * (len(sources) if parameter.per_source else 1)
        for name, parameter in METHODS[method].parameters.items()
    }
    inputs = Inputs(
        values={**defaults, **given},
        load=lambda source: sources[source],
        load_base=None if base is None else lambda: base,
        draw=Draw(7, "tensor", names),
        dtype=torch.float32,
        base="base",
        measurements=kept or Measurements(),
    )
    return METHODS[method].formula(inputs)


def theirs(method: str, sources: list[Tensor], base: Tensor | None, given: Given) -> Tensor:
    from mergekit.merge_methods.base import TensorGroup

    rule = METHODS[method]
    tensors = sources if base is None else [base, *sources]
    has_base = base is not None or rule.base == "first"
    spell = {"switch": bool, "count": int, "number": float}
    parameters = {}
    for name, row in given.items():
        values = [spell[rule.parameters[name].kind](value) for value in row]
        first = 0 if base is None else 1
        parameters[name] = (
            {first + i: v for i, v in enumerate(values)} if rule.parameters[name].per_source else values[0]
        )
    group = TensorGroup.from_tensors(tensors, base_index=0 if has_base else None)
    (merged,) = registry.get(method)((group,), parameters=parameters, dtype=torch.float64)
    return merged


def siblings(shape: tuple[int, ...]) -> list[Tensor]:
    """A base and three sources, of the sizes that weights and their differences have."""
    generator = torch.Generator().manual_seed(0)
    base = 0.02 * torch.randn(shape, generator=generator)
    return [base, *(base + 0.003 * torch.randn(shape, generator=generator) for _ in range(3))]


def trained(name: str) -> list[Tensor]:
    """A tensor of the zoo's base and its two specialists, and of their mean for a third source."""
    base, math, language = (load_file(ZOO / part / "model.safetensors")[name] for part in ("base", "math", "language"))
    return [base.float(), math.float(), language.float(), (0.6 * math.float() + 0.4 * language.float())]


def close(method: str, got: Tensor, wanted: Tensor, scale: float) -> None:
    # A float32 sum of terms of the weights' scale cannot be nearer than this to one that cancels.
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=4e-7 * scale, msg=lambda text: f"{method}: {text}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[2]}")
def test_a_method_makes_what_mergekit_makes_of_random_tensors(case: tuple[str, bool, Given]) -> None:
    method, has_base, given = case
    for shape in ((300, 700), (500,)):
        base, *sources = siblings(shape)
        sources = sources[: METHODS[method].max_sources]
        wanted = theirs(method, sources, base if has_base else None, given)
        close(method, ours(method, sources, base if has_base else None, given), wanted, 0.05)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[2]}")
def test_a_method_makes_what_mergekit_makes_of_trained_tensors(case: tuple[str, bool, Given]) -> None:
    method, has_base, given = case
    names = sorted(load_file(ZOO / "base" / "model.safetensors"))
    for name in (names[0], next(name for name in names if "down_proj" in name), names[-1]):
        base, *sources = trained(name)
        sources = sources[: METHODS[method].max_sources]
        wanted = theirs(method, sources, base if has_base else None, given)
        close(method, ours(method, sources, base if has_base else None, given), wanted, float(base.abs().max()))


def test_every_method_and_every_parameter_of_mergekit_is_there_with_its_default() -> None:
    from mergekit.merge_methods.base import MISSING

    assert {method.spec.name for method in registry.registered_methods()} == METHODS.keys()
    for method in registry.registered_methods():
        rule = METHODS[method.spec.name]
        known = {parameter.name: parameter.default for parameter in method.spec.parameters}
        assert known.keys() == rule.parameters.keys() | set(rule.ignored), method.spec.name
        for name, parameter in rule.parameters.items():
            default = None if known[name] is MISSING else known[name]
            neutral = name == "scale"  # mergekit's None scales by nothing
            assert parameter.default == default or neutral, (method.spec.name, name)


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "sce", "slerp", "multislerp", "ramplus_tl"])
def test_what_was_measured_before_changes_no_bit(method: str) -> None:
    base, *sources = siblings((400, 500))
    cases = [(given, has_base) for name, has_base, given in CASES if name == method]
    kept = Measurements()
    for given, has_base in [*cases, *cases]:
        origins = (sources[: METHODS[method].max_sources], base if has_base else None, given)
        assert torch.equal(ours(method, *origins, kept), ours(method, *origins))
