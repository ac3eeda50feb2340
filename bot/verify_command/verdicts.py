"""The verdicts on a release, and the comparisons that decide them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from bot.release.evidence import ReportItems
from bot.release.verify import sha256_of
from evaluation.scores import ItemScore

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "*.safetensors"
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
    """Compare every file that the recipe makes, and refuse weights that it does not make."""
    made = sorted(path.name for path in rebuilt.iterdir())
    for name in made:
        if not (release / name).is_file():
            return ReleaseCheck("bytes", CheckOutcome.DIFFERENT, f"{name}: the release does not have it")
        if sha256_of(release / name) != sha256_of(rebuilt / name):
            there, here = (release / name).stat().st_size, (rebuilt / name).stat().st_size
            difference = f"{there:,} bytes, rebuilt {here:,}" if there != here else f"other bytes, {here:,} in both"
            return ReleaseCheck("bytes", CheckOutcome.DIFFERENT, f"{name}: {difference}")
    if extra := [path.name for path in sorted(release.glob(WEIGHTS)) if path.name not in made]:
        return ReleaseCheck("bytes", CheckOutcome.DIFFERENT, f"{extra[0]}: the recipe does not make it")
    return ReleaseCheck("bytes", CheckOutcome.EQUAL, f"{len(made)} files that the recipe makes: {', '.join(made)}")


def compare_tensors(release: Path, rebuilt: Path) -> ReleaseCheck:
    """Compare the tensors of both, bit by bit, whatever files they are in."""
    import torch

    theirs, ours = _tensor_files(release), _tensor_files(rebuilt)
    for name in sorted({*theirs, *ours}):
        if name not in theirs or name not in ours:
            where = "the release does not have it" if name not in theirs else "the recipe does not make it"
            return ReleaseCheck("tensors", CheckOutcome.DIFFERENT, f"{name}: {where}")
        there, here = _read_tensor(theirs[name], name), _read_tensor(ours[name], name)
        if (there.dtype, there.shape) != (here.dtype, here.shape):
            forms = [f"{str(one.dtype).removeprefix('torch.')} {list(one.shape)}" for one in (there, here)]
            return ReleaseCheck("tensors", CheckOutcome.DIFFERENT, f"{name}: {forms[0]}, rebuilt {forms[1]}")
        if not torch.equal(there.view(torch.uint8), here.view(torch.uint8)):
            distance = (there.double() - here.double()).abs()
            changed = int((distance > 0).sum()) or "some"
            detail = f"{name}: {changed} of {there.numel():,} values differ, at most by {float(distance.max()):.3g}"
            return ReleaseCheck("tensors", CheckOutcome.DIFFERENT, detail)
    return ReleaseCheck("tensors", CheckOutcome.EQUAL, f"{len(ours)} tensors, bit by bit")


def compare_scores(stated: ReportItems, measured: Sequence[ItemScore], card: Sequence[CardScore]) -> ReleaseCheck:
    """Compare scores measured anew with those that the release states, item by item, and these with its card."""
    known = {(one.skill, one.task): one.scores for one in stated.tasks}
    for score in measured:
        value = known.get((score.skill, score.task), {}).get(score.item)
        if value is None:
            detail = f"{score.task}: item {score.item}: measured {score.value:g}, but the release states no score of it"
            return ReleaseCheck("scores", CheckOutcome.DIFFERENT, detail)
        if value != score.value:
            detail = f"{score.task}: item {score.item}: the release states {value:g}, measured {score.value:g}"
            return ReleaseCheck("scores", CheckOutcome.DIFFERENT, detail)
    if difference := _card_difference(stated, card):
        return ReleaseCheck("scores", CheckOutcome.DIFFERENT, difference)
    total = sum(len(scores) for scores in known.values())
    detail = f"{len(measured):,} of {total:,} report scores; the card's {len(card)} results are the means of all"
    return ReleaseCheck("scores", CheckOutcome.EQUAL, detail)


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
        if abs(shown.value - mean) > 0.5 * 10**-CARD_DIGITS + 1e-9:
            return f"README.md: {name}: its metadata says {shown.value:g}, the mean of the item scores is {mean:.4f}"
    return None


def _tensor_files(folder: Path) -> Mapping[str, Path]:
    """Tensor name → its file."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if fnmatchcase(path.name, WEIGHTS):
            with safe_open(path, "pt") as file:
                found |= dict.fromkeys(file.keys(), path)
    return found


def _read_tensor(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor.reshape(-1) if not tensor.dim() else tensor
