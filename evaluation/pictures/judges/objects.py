"""The judge `objects`: whether a picture has the objects that it should have, so many and in their colours.

The idea is that of GenEval (Ghosh et al., 2023), with OWLv2 (Minderer et al., 2023) as the detector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.pictures.colours import COLOURS, name_colour
from evaluation.pictures.judges.judge import SCORE, JudgeRepo, load_judge_model, parse_model_settings
from evaluation.pictures.rows import Row

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

QUERY = "a photo of a {}"
THRESHOLD = 0.1
"""Of OWLv2's scores, as its authors use it."""

MOST_OVERLAP = 0.5
"""Of two boxes of one object that share more (of what they cover together), the one with the lower score is dropped."""


@dataclass(frozen=True)
class Wanted:
    """An entry of a row's list of objects. count: exactly so many. colour: one of `COLOURS`; None for any."""

    object: str
    count: int = 1
    colour: str | None = None


@dataclass(frozen=True)
class ObjectsSettings:
    """A model, the column with the wanted objects, and the score from which on a box counts."""

    repo: JudgeRepo
    column: str
    threshold: float

    name = "objects"
    graded = False

    @property
    def description(self) -> str:
        """As `JudgeSettings`."""
        return f"objects by {self.repo}"

    @property
    def facts(self) -> object:
        """As `JudgeSettings`."""
        return [self.name, self.repo.repo, self.repo.revision, self.column, self.threshold]

    def check_row(self, row: Row) -> None:
        """The row must list objects."""
        read_wanted(row, self.column)

    def open(self, folder: Path | None, device: str) -> ObjectsJudge:
        """Load the model, in float32 whatever its files have."""
        from transformers import AutoModelForZeroShotObjectDetection as Loader

        model, processor = load_judge_model(self.description, folder, Loader, device, "float32")
        if not hasattr(model, "image_text_embedder"):
            raise EvaluationError(f"{self.description}: {type(model).__name__} is no OWLv2; use such a model")
        return ObjectsJudge(model, processor, self.column, self.threshold)


def parse_objects(value: object) -> ObjectsSettings:
    """Read `repo`, `revision`, `objects` and `threshold`."""
    repo, given = parse_model_settings(value, {"objects": True, "threshold": False})
    threshold = given.get("threshold", THRESHOLD)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise EvaluationError(f".threshold: got {threshold!r}: give a number between 0 and 1")
    if not isinstance(given["objects"], str):
        raise EvaluationError(f".objects: got {given['objects']!r}: give the name of a column")
    return ObjectsSettings(repo, given["objects"], float(threshold))


def read_wanted(row: Row, column: str) -> list[Wanted]:
    """The objects that a row lists. Raises EvaluationError for a list that has no meaning."""
    listed = row.get(column)
    if not isinstance(listed, list) or not listed:
        raise EvaluationError(f"column {column}: got {listed!r}: give a list such as [{{object: cat, count: 2}}]")
    found = []
    for entry in listed:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("object"), str):
            raise EvaluationError(f"column {column}: got {entry!r}: give object, and count and colour if they matter")
        if unknown := sorted(set(map(str, entry)) - {"object", "count", "colour"}):
            raise EvaluationError(f"column {column}: {unknown[0]}: there is no such key; use object, count, colour")
        count, colour = entry.get("count", 1), entry.get("colour")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise EvaluationError(f"column {column}: count: got {count!r}: give a whole number")
        if colour is not None and colour not in COLOURS:
            raise EvaluationError(f"column {column}: colour: got {colour!r}: use {', '.join(COLOURS)}")
        found.append(Wanted(entry["object"], count, colour))
    return found


class ObjectsJudge:
    """Looks for objects in pictures, one picture at a time: each has its own list."""

    def __init__(self, model: Any, processor: Any, column: str, threshold: float) -> None:
        self._model, self._processor, self._column, self._threshold = model, processor, column, threshold

    def judge(self, pictures: Sequence[Image], rows: Sequence[Row]) -> list[Mapping[str, float]]:
        """The share of the demands that each picture fulfils."""
        return [{SCORE: self._one(picture, row)} for picture, row in zip(pictures, rows, strict=True)]

    def _one(self, picture: Image, row: Row) -> float:
        wanted = read_wanted(row, self._column)
        found = self.detect(picture, list(dict.fromkeys(one.object for one in wanted)))
        return share_fulfilled(wanted, {name: [box_colour(picture, box) for box in found[name]] for name in found})

    def detect(self, picture: Image, names: Sequence[str]) -> dict[str, list[Box]]:
        """The boxes of each object, the most certain first."""
        import torch

        queries = [[QUERY.format(name) for name in names]]
        inputs = self._processor(text=queries, images=[picture], return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        if not outputs.logits.isfinite().all():
            raise EvaluationError(f"the judge gives no numbers for {', '.join(names)}; use another judge")
        (boxes,) = self._processor.post_process_grounded_object_detection(
            outputs, threshold=self._threshold, target_sizes=[(picture.height, picture.width)]
        )
        order = boxes["scores"].argsort(descending=True, stable=True).tolist()
        found: dict[str, list[Box]] = {name: [] for name in names}
        for place in order:
            kept = found[names[int(boxes["labels"][place])]]
            left, top, right, bottom = boxes["boxes"][place].tolist()
            if all(overlap((left, top, right, bottom), other) <= MOST_OVERLAP for other in kept):
                kept.append((left, top, right, bottom))
        return found


def share_fulfilled(wanted: Sequence[Wanted], colours: Mapping[str, Sequence[str]]) -> float:
    """The share of demands that are fulfilled. colours: of the boxes of each object.

    An object must be there as often as all of its entries say together; and in each colour, at least as often as the
    entry with it says.
    """
    counts: Counter[str] = Counter()
    for one in wanted:
        counts[one.object] += one.count
    met = [len(colours[one.object]) == counts[one.object] for one in wanted]
    met += [list(colours[one.object]).count(one.colour) >= one.count for one in wanted if one.colour is not None]
    return sum(met) / len(met)


def box_colour(picture: Image, box: Box) -> str:
    """The name of the median colour in the middle of a box, half as wide and half as high."""
    left, top, right, bottom = box
    across, down = (right - left) / 4, (bottom - top) / 4
    columns = _span(left + across, right - across, picture.width)
    rows = _span(top + down, bottom - down, picture.height)
    middle = np.asarray(picture)[rows, columns].reshape(-1, 3)
    return name_colour([float(value) for value in np.median(middle, axis=0)])


def overlap(first: Box, second: Box) -> float:
    """What two boxes share, of what they cover together."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    covered = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - shared
    return shared / covered if covered > 0 else 0.0


def _span(start: float, end: float, size: int) -> slice:
    """At least one whole pixel between two places, inside the picture."""
    first = min(max(int(start), 0), size - 1)
    return slice(first, max(first + 1, min(round(end), size)))
