"""The protocols of a judge: its settings in a task file, and what gives pictures numbers. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evaluation.errors import EvaluationError
from evaluation.pictures.rows import Row

if TYPE_CHECKING:
    from PIL.Image import Image

SCORE = "score"
"""The metric of a judge that gives one number."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class JudgeRepo:
    """The repo of a judge's model. revision: a commit, as 40 hexadecimal digits."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision[:7]}"


class OpenJudge(Protocol):
    """A judge that is ready."""

    def judge(self, pictures: Sequence[Image], rows: Sequence[Row]) -> Sequence[Mapping[str, float]]:
        """The numbers of each picture, by metric. rows: of the items, with prompt and seed.

        Raises EvaluationError if the judge fails.
        """


class JudgeSettings(Protocol):
    """A judge as a task file names it."""

    @property
    def name(self) -> str:
        """The kind of judge, as in the registry."""

    @property
    def description(self) -> str:
        """The judge in a few words, for plans and cards."""

    @property
    def repo(self) -> JudgeRepo | None:
        """The repo of its model; None for a judge without weights."""

    @property
    def graded(self) -> bool:
        """Whether different pictures have different numbers, as long as the judge is sound."""

    @property
    def facts(self) -> object:
        """All that decides its numbers besides this package's code: a JSON value, the same on every machine."""

    def check_row(self, row: Row) -> None:
        """Raise EvaluationError for a row that lacks what the judge needs."""

    def open(self, folder: Path | None, device: str) -> OpenJudge:
        """Make the judge ready. folder: of the files of its repo. Raises EvaluationError if it cannot be used."""


JudgeParser = Callable[[object], JudgeSettings]
"""Reads the settings of a judge. Raises EvaluationError, whose text begins with the key below the judge's name."""


def parse_model_settings(value: object, keys: Mapping[str, bool]) -> tuple[JudgeRepo, Mapping[str, object]]:
    """The repo of a judge that is a model, and its other settings. keys: key → whether it is required."""
    if not isinstance(value, Mapping):
        raise EvaluationError(f": got {value!r}: give repo, revision{''.join(f', {key}' for key in keys)}")
    known = {"repo": True, "revision": True, **keys}
    if unknown := sorted(set(map(str, value)) - known.keys()):
        raise EvaluationError(f".{unknown[0]}: there is no such key; it has {', '.join(known)}")
    if missing := [key for key, required in known.items() if required and key not in value]:
        raise EvaluationError(f".{missing[0]}: it is missing")
    repo, revision = value["repo"], value["revision"]
    if not isinstance(repo, str) or not _REPO.fullmatch(repo):
        raise EvaluationError(f".repo: got {repo!r}: give a repo of the Hub, such as google/siglip-base-patch16-224")
    if not isinstance(revision, str) or not _COMMIT.fullmatch(revision):
        raise EvaluationError(f".revision: got {revision!r}: give a commit's 40 hexadecimal digits, in quotes")
    return JudgeRepo(repo, revision), {key: value[key] for key in keys if key in value}


def load_judge_model(description: str, folder: Path | None, loader: Any, device: str, dtype: str) -> tuple[Any, Any]:
    """The model in a folder and its processor, by plain transformers. loader: the class that finds the model's own.

    Pictures are read by Pillow: that is the same on every machine. Raises EvaluationError for what cannot be loaded.
    """
    from transformers import AutoProcessor

    if folder is None:
        raise EvaluationError(f"{description}: its files were not fetched")
    try:
        model, loading = loader.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError, AttributeError) as error:
        words = " ".join(str(error).split())[:300]
        raise EvaluationError(f"{description}: it cannot be loaded ({words}); use another model") from error
    if missing := sorted(loading["missing_keys"]):  # transformers makes them up, otherwise in every process
        raise EvaluationError(f"{description}: its files lack the weight {missing[0]}; use another model")
    return model.to(device).eval().requires_grad_(False), processor
