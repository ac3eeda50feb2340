"""A model with a LoRA adapter, tensor by tensor: it is never whole in memory or on the disk.

The weights are those of peft's `merge_and_unload`: W + s·B·A, LoRA's product (arXiv:2106.09685) on the base's
weight, with DoRA's magnitudes (arXiv:2402.09353) where the adapter has them. The product is added in float32 and is not
rounded to the base's dtype: the merge that reads it rounds once, at its end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from merging.errors import MergingError
from merging.sources.adapter_plan import Adapter, Change, Product, plan_adapter
from merging.sources.checkpoint import is_finite, read_headers
from merging.sources.json_object import read_json_object
from merging.sources.weights import Weights

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


class AdapterCheckpoint(Weights):
    """The weights of a base with an adapter, by the base's tensor names.

    Shapes are the base's, and headers have its dtypes; tensors that the adapter changes come in float32 (float64 on a
    float64 base), or, where it replaces them whole, as it stores them. The others are the base's own.
    """

    def __init__(self, base: Weights, source: Path, adapter: Adapter) -> None:
        """Use AdapterCheckpoint.open. source: the adapter's file."""
        super().__init__(base.folder, base.headers)
        self._base = base
        self._source = source
        self._adapter = adapter
        self._handle: Any = None

    @classmethod
    def open(cls, base: Weights, folder: Path) -> AdapterCheckpoint:
        """Add the adapter in `folder` to `base`; MergingError, before a weight is read, if it does not fit.

        Adapters can be stacked: `base` may have one already.
        """
        source = folder / ADAPTER_WEIGHTS
        config = read_json_object(folder / ADAPTER_CONFIG)
        if not source.is_file():
            pickled = "; pickled weights are not read: save it again with peft" if list(folder.glob("*.bin")) else ""
            raise MergingError(f"{folder}: it has no {ADAPTER_WEIGHTS}{pickled}")
        found = cls(base, source, plan_adapter(str(folder), config, read_headers(source), base.headers))
        found._check_tied()
        return found

    @torch.no_grad()
    def tensor(self, name: str) -> Tensor:
        """A tensor with the adapter's change, computed at each call; it must not be written to."""
        change = self._adapter.changes.get(name)
        if change is None:
            return self._base.tensor(name)
        start = self._base.tensor(name) if change.replacement is None else self._read(change.replacement)
        if change.product is None and change.shift is None:
            return start
        return self._changed(start, change)

    def verify(self) -> None:
        """Read every weight of base and adapter; MergingError names file and tensor if one is not finite."""
        self._base.verify()
        for name in self._adapter.changes:
            if not is_finite(self.tensor(name)):
                raise MergingError(f"{self._source}: tensor {name} becomes NaN or infinite with this adapter")

    def _changed(self, start: Tensor, change: Change) -> Tensor:
        result = start.to(torch.promote_types(start.dtype, torch.float32), copy=True)
        if change.product is not None:
            self._add_product(result, change.product)
        if change.shift is not None:
            key, scaling = change.shift
            result.add_(self._read(key).to(result.dtype), alpha=scaling)
        return result

    def _add_product(self, weight: Tensor, product: Product) -> None:
        down, up = (self._read(key).to(weight.dtype) for key in (product.down, product.up))
        # In place, so that the product needs no matrix of the weight's size.
        factors = (down.T, up.T) if product.transposed else (up, down)
        weight.addmm_(*factors, alpha=product.scaling)
        if product.magnitude is not None:
            norms = torch.linalg.vector_norm(weight, dim=0 if product.transposed else 1, keepdim=True)
            weight.mul_(self._read(product.magnitude).to(weight.dtype).reshape(norms.shape) / norms)

    def _check_tied(self) -> None:
        for key, other in self._adapter.tied.items():
            if not torch.equal(self._read(key), self._read(other)):
                why = f"it differs from {other}, yet the base ties both: untie the base, or train one of them"
                raise MergingError(f"{self._source}: {key}: {why}")

    def _read(self, key: str) -> Tensor:
        try:
            if self._handle is None:
                self._handle = safe_open(self._source, framework="pt")
            tensor: Tensor = self._handle.get_tensor(key)
        except (OSError, SafetensorError) as error:
            raise MergingError(f"{self._source}: tensor {key} cannot be read ({error})") from error
        return tensor
