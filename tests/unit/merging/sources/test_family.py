from __future__ import annotations

import pytest

from merging.sources.family import TensorHeader, family_mismatch


def headers(*, layers: int = 2, **changes: TensorHeader | None) -> dict[str, TensorHeader]:
    """A small model's headers; `changes` replace, add or (None) remove, dots written as two underscores."""
    shapes = {"wte.weight": (10, 4), "lm_head.weight": (10, 4)}
    shapes |= {f"h.{layer}.{part}.weight": (4, 4) for layer in range(layers) for part in ("attn", "mlp")}
    found = {name: TensorHeader(name, shape, "F32") for name, shape in shapes.items()}
    for key, header in changes.items():
        name = key.replace("__", ".")
        found.pop(name, None)
        if header is not None:
            found[name] = header
    return found


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (headers(), None),
        (headers(wte__weight=TensorHeader("wte.weight", (10, 4), "BF16")), None),
        (headers(layers=3), "it has 3 layers instead of 2"),
        (headers(lm_head__weight=None), "it lacks tensor lm_head.weight"),
        (headers(h__0__attn__weight=None, h__0__mlp__weight=None), "it has 1 layers instead of 2"),
        (headers(h__1__mlp__weight=None, wte__weight=None), "it lacks tensor h.1.mlp.weight and 1 more"),
        (headers(wpe__weight=TensorHeader("wpe.weight", (9, 4), "F32")), "it has tensor wpe.weight too many"),
        (headers(wte__weight=TensorHeader("wte.weight", (11, 4), "F32")), "tensor wte.weight is 11×4, not 10×4"),
        (
            headers(wte__weight=TensorHeader("wte.weight", (10, 4), "I8")),
            "tensor wte.weight is of dtype I8, which cannot be merged",
        ),
    ],
)
def test_the_reason_names_what_differs(other: dict[str, TensorHeader], reason: str | None) -> None:
    assert family_mismatch(headers(), other) == reason
