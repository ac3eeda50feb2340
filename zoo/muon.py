"""Muon: momentum whose update is replaced by the nearest orthogonal matrix, for matrices inside blocks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# The quintic iteration X ← aX + (bA + cA²)X with A = XXᵀ, from Keller Jordan's "Muon" (2024): it brings every
# singular value near one in a few steps instead of converging exactly.
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 4


def orthogonalised(stack: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with their singular values brought near one."""
    tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if tall else stack
    x = x / (x.square().sum(dim=(1, 2), keepdim=True).sqrt() + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for matrices, and for kernels as matrices with a row for each filter; equal shapes are done in one batch."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        """`lr` is the size of a step in units of an orthogonal matrix, scaled by √max(1, rows/columns)."""
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in parameters:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        groups = [{"params": group} for group in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move every matrix along its orthogonalised Nesterov momentum."""
        for group in self.param_groups:
            parameters = group["params"]
            gradients = torch.stack([parameter.grad.flatten(1) for parameter in parameters])
            state = self.state[parameters[0]]
            average = state.setdefault("average", torch.zeros_like(gradients))
            average.lerp_(gradients, 1 - group["momentum"])
            update = orthogonalised(gradients.lerp(average, group["momentum"]))
            size = group["lr"] * max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            for parameter, matrix in zip(parameters, update, strict=True):
                parameter.sub_(matrix.view_as(parameter), alpha=size)
