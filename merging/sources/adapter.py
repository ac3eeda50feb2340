"""A model with a LoRA adapter, tensor by tensor: it is never whole in memory or on the disk.

The weights are those of peft's `merge_and_unload`: W + s·B·A, LoRA's product (arXiv:2106.09685) on the base's
weight, with DoRA's magnitudes (arXiv:2402.09353) where the adapter has them. What is added is computed in float32, and
rounded to bfloat16 on a base of 16 bits, so that it takes no more room than a whole source's tensor. Its error is a
small part of the change, where a published fine-tune's is the same part of the whole weight. The sum is not rounded:
the merge that reads it rounds once, at its end. The bits are the same on every processor, in any number of threads.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from merging.dtypes import BITS, torch_dtype
from merging.errors import MergingError
from merging.kernels.low_rank import low_rank_product, squared_lengths
from merging.sources.adapter_plan import Adapter, Product, plan_adapter
from merging.sources.checkpoint import Checkpoint, is_finite, read_headers
from merging.sources.header_names import name_adapter_headers
from merging.sources.json_object import read_json_object
from merging.sources.weights import AdaptedTensor, AdaptedWeights, Weights

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


class AdapterCheckpoint(AdaptedWeights):
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
        self._stored: Checkpoint | None = None

    @classmethod
    def open(cls, base: Weights, folder: Path, differences: Path | None = None) -> AdapterCheckpoint:
        """Add the adapter in `folder` to `base`; MergingError, before a weight is read, if it does not fit.

        Adapters can be stacked: `base` may have one already.
        differences: a folder that `store_differences` wrote, so that they need not be computed at each call.
        """
        source = folder / ADAPTER_WEIGHTS
        config = read_json_object(folder / ADAPTER_CONFIG)
        if not source.is_file():
            pickled = "; pickled weights are not read: save it again with peft" if list(folder.glob("*.bin")) else ""
            raise MergingError(f"{folder}: it has no {ADAPTER_WEIGHTS}{pickled}")
        headers = name_adapter_headers(base.config, read_headers(source), str(base.folder))
        found = cls(base, source, plan_adapter(str(folder), config, headers, base.headers))
        found._check_tied()
        if differences is not None:
            found._stored = Checkpoint.open(differences)
        return found

    @cached_property
    def differing(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors to which the adapter adds something, by name."""
        changes = self._adapter.changes.items()
        return {name: self.header(name).shape for name, one in changes if one.product or one.shift}

    @cached_property
    def difference_dtype(self) -> str:
        """The dtype of what is added: bfloat16 if the base has 16 bits wherever something is, else float32."""
        return "bfloat16" if all(BITS[self.header(name).dtype] == 16 for name in self.differing) else "float32"

    def stored_name(self, name: str) -> str:
        """The name of a tensor in the base's files."""
        return self._base.stored_name(name)

    @torch.no_grad()
    def tensor(self, name: str) -> Tensor:
        """A tensor with the adapter's change; it must not be written to."""
        return AdaptedTensor(self._start(name), self._difference(name)).total()

    def adapted(self, name: str) -> AdaptedTensor | None:
        """A tensor as the change of the base's; None where the adapter replaces it whole."""
        planned = self._adapter.changes.get(name)
        if planned is not None and planned.replacement is not None:
            return None
        return AdaptedTensor(self._base.tensor(name), self._difference(name))

    def may_change(self, name: str) -> bool:
        """Whether the adapter changes a tensor."""
        return name in self._adapter.changes

    def verify(self) -> None:
        """Read every weight of base and adapter; MergingError names file and tensor if one is not finite."""
        self._base.verify()
        self.verify_changes()

    def verify_changes(self) -> None:
        """As `verify`, of the tensors that the adapter changes; MergingError, too, if it changes none of them."""
        changed = False
        for name, planned in self._adapter.changes.items():
            difference = self._difference(name)
            if not is_finite(self.tensor(name)):
                raise MergingError(f"{self._source}: tensor {name} becomes NaN or infinite with this adapter")
            changed |= planned.replacement is not None or (difference is not None and bool(difference.any()))
        if not changed:
            raise MergingError(f"{self._source}: it changes nothing: all that it adds to its base is zero")

    def _start(self, name: str) -> Tensor:
        """The tensor that the adapter adds to: the base's, or the adapter's own in place of it."""
        planned = self._adapter.changes.get(name)
        replacement = planned.replacement if planned else None
        return self._base.tensor(name) if replacement is None else self._read(replacement)

    @torch.no_grad()
    def _difference(self, name: str) -> Tensor | None:
        """What is added to a tensor, from the file that has it, or computed; None where nothing is."""
        if name not in self.differing:
            return None
        if self._stored is not None:
            return self._stored.tensor(name)
        return self.compute_difference(name)

    @torch.no_grad()
    def compute_difference(self, name: str) -> Tensor:
        """What is added to a tensor, computed."""
        planned = self._adapter.changes[name]
        found = torch.zeros(self.differing[name])
        if planned.product is not None:
            found = self._product(planned.product, self._start(name))
        if planned.shift is not None:
            key, scaling = planned.shift
            found = found.add_(self._read(key).float().mul_(scaling))
        return found.to(torch_dtype(self.difference_dtype))

    def _product(self, product: Product, weight: Tensor) -> Tensor:
        """s·B·A; of DoRA, what its magnitudes make of weight and product, without the weight."""
        down, up = (self._read(key).float() for key in (product.down, product.up))
        factors = (down.T, up.T) if product.transposed else (up, down)
        found = low_rank_product(*factors, product.scaling)
        if product.magnitude is None:
            return found
        start = weight.float()
        whole = found.add_(start)
        scales = self._read(product.magnitude).flatten().double() / squared_lengths(whole, product.transposed).sqrt()
        return whole.mul_(scales.float().unsqueeze(0 if product.transposed else 1)).sub_(start)

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
