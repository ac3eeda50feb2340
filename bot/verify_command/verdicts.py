"""The verdicts on a release, and the comparisons that decide them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from bot.release.evidence import ReportItems
from bot.release.verify import sha256_of
from evaluation.scores import ItemScore
from merging.errors import MergingError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "*.safetensors"
LOADED = (WEIGHTS, "*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.py", "adapter_config.json")
"""Files that a library may load as weights, or run, if it finds them."""

CARD_DIGITS = 4
"""Decimal places of the scores in a card's metadata."""


class CheckOutcome(StrEnum):
    """The outcome of a comparison."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class ReleaseCheck:
    """One verdict on a release.

    subject: bytes, tensors or scores. detail: what was compared, what differs first, or why nothing was compared.
    """

    subject: str
    outcome: CheckOutcome
    detail: str


@dataclass(frozen=True)
class Verification:
    """The verdicts on a release. sha: its commit; None for a folder."""

    release: str
    sha: str | None
    checks: tuple[ReleaseCheck, ...]

    @property
    def is_equal(self) -> bool:
        """Whether everything was compared and is equal."""
        return all(check.outcome is CheckOutcome.EQUAL for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self) | {"equal": self.is_equal}


@dataclass(frozen=True)
class CardScore:
    """One result in a card's metadata."""

    task: str
    metric: str
    value: float


def compare_files(release: Path, rebuilt: Path) -> ReleaseCheck:
    """Compare every file that the recipe makes, and refuse weights and code that it does not make."""
    made = [path.relative_to(rebuilt).as_posix() for path in sorted(rebuilt.rglob("*")) if path.is_file()]
    for name in made:
        if not (release / name).is_file():
            return ReleaseCheck("bytes", CheckOutcome.DIFFERENT, f"{name}: the release does not have it")
        if sha256_of(release / name) != sha256_of(rebuilt / name):
            there, here = (release / name).stat().st_size, (rebuilt / name).stat().st_size
            difference = f"{there:,} bytes, rebuilt {here:,}" if there != here else f"other bytes, {here:,} in both"
            return ReleaseCheck("bytes", CheckOutcome.DIFFERENT, f"{name}: {difference}")
    if extra := [name for name in _loaded_files(release, rebuilt) if name not in made]:
        return ReleaseCheck("bytes", CheckOutcome.DIFFERENT, f"{extra[0]}: the recipe does not make it")
    return ReleaseCheck("bytes", CheckOutcome.EQUAL, f"{len(made)} files that the recipe makes: {', '.join(made)}")


def compare_tensors(release: Path, rebuilt: Path) -> ReleaseCheck:
    """Compare the tensors of both, bit by bit, whatever files they are in."""
    import torch

    try:
        theirs, ours = _tensor_files(release, rebuilt), _tensor_files(rebuilt, rebuilt)
    except MergingError as error:
        return ReleaseCheck("tensors", CheckOutcome.DIFFERENT, str(error).replace(f"{release}{os.sep}", ""))
    for name in sorted({*theirs, *ours}):
        if name not in theirs or name not in ours:
            where = "the release does not have it" if name not in theirs else "the recipe does not make it"
            return ReleaseCheck("tensors", CheckOutcome.DIFFERENT, f"{name}: {where}")
        there, here = _read_tensor(*theirs[name]), _read_tensor(*ours[name])
        if (there.dtype, there.shape) != (here.dtype, here.shape):
            forms = [f"{str(one.dtype).removeprefix('torch.')} {list(one.shape)}" for one in (there, here)]
            return ReleaseCheck("tensors", CheckOutcome.DIFFERENT, f"{name}: {forms[0]}, rebuilt {forms[1]}")
        if not torch.equal(there.view(torch.uint8), here.view(torch.uint8)):
            distance = (there.double() - here.double()).abs()
            changed = int((distance > 0).sum()) or "some"
            detail = f"{name}: {changed} of {there.numel():,} values differ, at most by {float(distance.max()):.3g}"
            return ReleaseCheck("tensors", CheckOutcome.DIFFERENT, detail)
    return ReleaseCheck("tensors", CheckOutcome.EQUAL, f"{len(ours)} tensors, bit by bit")


def compare_scores(
    stated: ReportItems, measured: Sequence[ItemScore], card: Sequence[CardScore], *, all_items: bool
) -> ReleaseCheck:
    """Compare scores measured anew with those that the release states, item by item, and these with its card.

    all_items: whether every item was measured, and not only some of each task.
    """
    known = {(one.skill, one.task): one.scores for one in stated.tasks}
    for score in measured:
        value = known.get((score.skill, score.task), {}).get(score.item)
        if value is None:
            detail = f"{score.task}: item {score.item}: measured {score.value:g}, but the release states no score of it"
            return ReleaseCheck("scores", CheckOutcome.DIFFERENT, detail)
        if value != score.value:
            detail = f"{score.task}: item {score.item}: the release states {value:g}, measured {score.value:g}"
            return ReleaseCheck("scores", CheckOutcome.DIFFERENT, detail)
    if difference := _unmeasured(stated, measured, all_items=all_items) or _card_difference(stated, card):
        return ReleaseCheck("scores", CheckOutcome.DIFFERENT, difference)
    total = sum(len(scores) for scores in known.values())
    detail = f"{len(measured):,} of {total:,} report scores; the card's {len(card)} results are the means of all"
    return ReleaseCheck("scores", CheckOutcome.EQUAL, detail)


def _unmeasured(stated: ReportItems, measured: Sequence[ItemScore], *, all_items: bool) -> str | None:
    """The first task or, if all were measured, item that the release states a score of and its watchlist does not ask;
    None if there is none.
    """
    items: dict[tuple[str, str], set[str]] = {}
    for score in measured:
        items.setdefault((score.skill, score.task), set()).add(score.item)
    if not stated.tasks:
        return "the release states no scores"
    for task in stated.tasks:
        if (task.skill, task.task) not in items:
            return f"{task.task}: the release states scores in {task.skill}, which its watchlist does not ask"
        if all_items and (unknown := task.scores.keys() - items[task.skill, task.task]):
            return f"{task.task}: item {min(unknown)}: the release states a score, but the task has no such report item"
    return None


def _card_difference(stated: ReportItems, card: Sequence[CardScore]) -> str | None:
    """The first result in the card's metadata that is not the mean of the stated item scores; None if all are.

    The card has its results in the order of the skills' tasks; guards follow in the stated scores alone.
    """
    if not card:
        return "README.md: its metadata has no results"
    if len(card) > len(stated.tasks):
        return f"README.md: its metadata has {len(card)} results, and the release states {len(stated.tasks)}"
    for shown, task in zip(card, stated.tasks, strict=False):
        mean = sum(task.scores.values()) / len(task.scores) if task.scores else 0.0
        name = f"{shown.task} {shown.metric}"
        if not task.task.startswith(f"{shown.task}:{shown.metric}"):
            return f"README.md: it has a result of {name} where the release states one of {task.task}"
        if not abs(shown.value - mean) <= 0.5 * 10**-CARD_DIGITS + 1e-9:  # NaN agrees with nothing
            return f"README.md: {name}: its metadata says {shown.value:g}, the mean of the item scores is {mean:.4f}"
    return None


def _places(folder: Path, rebuilt: Path) -> dict[str, Path]:
    """Where a folder may hold what is loaded: itself, and the folders of components that the recipe makes.

    By what stands before the names of tensors there.
    """
    components = sorted(path.name for path in rebuilt.iterdir() if path.is_dir())
    return {"": folder} | {f"{name}.": folder / name for name in components if (folder / name).is_dir()}


def _loaded_files(folder: Path, rebuilt: Path) -> list[str]:
    """The files that are loaded as weights, or run."""
    files = [path for place in _places(folder, rebuilt).values() for path in sorted(place.iterdir())]
    loaded = [path for path in files if any(fnmatchcase(path.name, pattern) for pattern in LOADED)]
    return [path.relative_to(folder).as_posix() for path in loaded]


def _tensor_files(folder: Path, rebuilt: Path) -> Mapping[str, tuple[Path, str]]:
    """Tensor name, after its component → its file, and its name there; MergingError for a file that is damaged."""
    from merging.sources.checkpoint import read_headers

    return {
        f"{before}{name}": (path, name)
        for before, place in _places(folder, rebuilt).items()
        for path in sorted(place.glob(WEIGHTS))
        for name in read_headers(path)
    }


def _read_tensor(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor.reshape(-1) if not tensor.dim() else tensor
