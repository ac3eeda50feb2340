"""Judges that are opened once, and tried before they are asked."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.pictures.judges.judge import JudgeSettings, OpenJudge
from evaluation.pictures.rows import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBE_SIZE = (64, 64)
"""Width and height of the pictures with which judges are tried, where a task does not say how large its own are."""


class JudgeDesk:
    """A judge of a task: opened on first use, and tried on pictures that are nobody's.

    folder: of the files of its repo, None if they have not been fetched. metrics: what it must give.
    probe_rows: rows of different items, one or two. size: width and height of the task's pictures, as a rule may need.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        folder: Path | None,
        metrics: Collection[str],
        probe_rows: Sequence[Row],
        size: tuple[int, int] = PROBE_SIZE,
    ) -> None:
        self.settings = settings
        self._folder, self._metrics, self._rows, self._size = folder, metrics, probe_rows, size
        self._open: dict[str, OpenJudge] = {}
        self._tried = False

    def open(self, device: str) -> OpenJudge:
        """The judge on a device. EvaluationError for one that is missing, fails, or cannot tell pictures apart."""
        if device not in self._open:
            self._open[device] = self._make(device)
        return self._open[device]

    def try_out(self, device: str) -> None:
        """Open the judge once and let go of it: it is asked much later. Raises EvaluationError as `open` does."""
        if not self._tried:
            self._make(device)

    def _make(self, device: str) -> OpenJudge:
        if self.settings.repo is not None and self._folder is None:
            raise EvaluationError(f"{self.settings.description}: its files were not fetched; run it with a Hub")
        opened = self.settings.open(self._folder, device)
        self._try(opened)
        self._tried = True
        return opened

    def _try(self, judge: OpenJudge) -> None:
        found, name = self._probe(judge), self.settings.description
        for metric in self._metrics:
            values = [self._value(one, metric) for one in found]
            if odd := [value for value in values if not math.isfinite(value)]:
                raise EvaluationError(f"{name} gives {odd[0]} for {metric}, not a number; use another judge")
            if self.settings.graded and len(set(values)) == 1:
                raise EvaluationError(f"{name} gives {values[0]} for every picture; use another judge")
        if self.settings.repo is None:  # users' code; models need long, and give the same
            self._compare(found, self._probe(judge))

    def _probe(self, judge: OpenJudge) -> Sequence[Mapping[str, float]]:
        """Its numbers of the probe's pictures, which are made anew: a rule may draw on them."""
        pictures = [picture for picture in _probe_pictures(self._size) for _ in self._rows]
        return judge.judge(pictures, list(self._rows) * (len(pictures) // len(self._rows)))

    def _compare(self, found: Sequence[Mapping[str, float]], again: Sequence[Mapping[str, float]]) -> None:
        """Raise EvaluationError if a second asking gives another number."""
        for metric in self._metrics:
            for first, second in zip(found, again, strict=True):
                numbers = self._value(first, metric), self._value(second, metric)
                if numbers[0] != numbers[1]:
                    raise EvaluationError(
                        f"{self.settings.description} gives {numbers[0]} and then {numbers[1]} for {metric} of the "
                        "same picture; a rule must give one number for one picture and row"
                    )

    def _value(self, found: Mapping[str, float], metric: str) -> float:
        if metric not in found:
            raise EvaluationError(f"{self.settings.description} gives no {metric} but {', '.join(found) or 'nothing'}")
        return found[metric]


def _probe_pictures(size: tuple[int, int]) -> list[Image.Image]:
    """A grey picture, shades from black to white, and coloured stripes."""
    shades = Image.linear_gradient("L").resize(size)
    stripes = Image.merge("RGB", [shades, shades.rotate(90), shades.rotate(180)])
    return [Image.new("RGB", size, (128, 128, 128)), shades.convert("RGB"), stripes]
