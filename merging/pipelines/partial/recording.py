"""Tensors without values that remember how they were made, so that a conversion can be done again tensor by tensor.

A conversion of diffusers takes all tensors of a checkpoint and returns all of them under other names, some of them
divided, joined or transposed. Run once on recordings it shows names and shapes, and reads no weights; each tensor is
made from those that it needs when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from merging.errors import MergingError

Make = Callable[[], Tensor]


class Recording(Tensor):
    """A tensor's shape and dtype, and the function that makes it. Its values cannot be asked for."""

    make: Make

    @classmethod
    def of(cls, outline: Tensor, make: Make) -> Recording:
        """outline: a tensor on the meta device."""
        found: Recording = torch.Tensor._make_subclass(cls, outline)
        found.make = make
        return found

    @property
    def outline(self) -> Tensor:
        """Shape and dtype alone."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Iterable[type],
        arguments: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do on the outlines what is done to recordings, and remember it for every tensor that comes of it."""
        given = (arguments, dict(named or {}))
        outlined = tree_map(lambda one: one.outline if isinstance(one, Recording) else one, given)
        tensors = [one for one in tree_flatten(outlined)[0] if isinstance(one, Tensor)]
        versions = [one._version for one in tensors]
        found = function(*outlined[0], **outlined[1])
        if versions != [one._version for one in tensors]:
            raise MergingError("a conversion changes tensors in place")

        def again() -> Any:
            made = tree_map(lambda one: one.make() if isinstance(one, Recording) else one, given)
            return function(*made[0], **made[1])

        if isinstance(found, Tensor):
            return cls.of(found, again)
        if isinstance(found, tuple | list) and any(isinstance(one, Tensor) for one in found):
            return type(found)(cls.of(one, partial(_part_of, again, at)) for at, one in enumerate(found))
        return found


def _part_of(make: Callable[[], Any], position: int) -> Tensor:
    part: Tensor = make()[position]
    return part
