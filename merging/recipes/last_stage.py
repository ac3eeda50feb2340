"""The last stage of a merge: what an adapter adds to a model is added to the merged weights, times a scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from merging.errors import MergingError
from merging.identity import ModelId


@dataclass(frozen=True)
class LastStage:
    """One adapter after a merge: m + scale · (a - b) for each merged tensor m that the adapter changes.

    adapted: a model with the adapter; a is its tensor, b that of the model without the adapter. Of the model nothing
    else is read, so any will do on which the adapter fits. scale: not 0; equal merges must have one recipe.
    """

    adapted: ModelId
    scale: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", self.scale + 0.0)  # an int and a float are one scale, with one digest
        if self.adapted.adapter is None:
            raise MergingError(f"last_stage.adapted: got {self.adapted}: name a model with an adapter")
        if not math.isfinite(self.scale) or self.scale == 0:
            raise MergingError(f"last_stage.scale: got {self.scale}: give a finite number other than 0")

    @property
    def adapter(self) -> ModelId:
        """The adapter."""
        assert self.adapted.adapter is not None  # refused when it was made
        return self.adapted.adapter

    def with_models(self, models: Mapping[ModelId, ModelId]) -> LastStage:
        """The same stage with another model in the place of its own, if `models` names one."""
        return replace(self, adapted=models.get(self.adapted, self.adapted))

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; from_json reads them back to an equal stage."""
        return {"adapted": self.adapted.to_json(), "scale": self.scale}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LastStage:
        """Read what to_json wrote; MergingError for a value that cannot be, KeyError for one that is missing."""
        return cls(ModelId.from_json(data["adapted"]), data["scale"])
