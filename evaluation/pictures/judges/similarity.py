"""The judge `similarity`: the cosine of a picture and a text in the space of a CLIP or SigLIP model.

Radford et al., "Learning transferable visual models from natural language supervision", 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.errors import EvaluationError
from evaluation.pictures.judges.judge import SCORE, JudgeRepo, load_judge_model, parse_model_settings
from evaluation.pictures.rows import Row, RowText

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

AT_ONCE = 16
"""Pictures that the model looks at together."""


@dataclass(frozen=True)
class SimilaritySettings:
    """A model, and what pictures are compared with."""

    repo: JudgeRepo
    text: RowText

    name = "similarity"
    graded = True

    @property
    def description(self) -> str:
        """As `JudgeSettings`."""
        return f"similarity by {self.repo}"

    @property
    def facts(self) -> object:
        """As `JudgeSettings`."""
        return [self.name, self.repo.repo, self.repo.revision, self.text.text]

    def check_row(self, row: Row) -> None:
        """The row must have a text."""
        self.text.fill(row)

    def open(self, folder: Path | None, device: str) -> SimilarityJudge:
        """Load the model, in float32 whatever its files have."""
        from transformers import AutoModel

        model, processor = load_judge_model(self.description, folder, AutoModel, device, "float32")
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise EvaluationError(f"{self.description}: {type(model).__name__} is no CLIP or SigLIP; use such a model")
        return SimilarityJudge(model, processor, self.text)


def parse_similarity(value: object) -> SimilaritySettings:
    """Read `repo`, `revision` and `text`."""
    repo, given = parse_model_settings(value, {"text": False})
    return SimilaritySettings(repo, RowText(".text", str(given.get("text", "prompt"))))


class SimilarityJudge:
    """Compares pictures with texts; a text's vector is kept for the pictures of other models."""

    def __init__(self, model: Any, processor: Any, text: RowText) -> None:
        self._model, self._processor, self._text = model, processor, text
        self._texts: dict[str, Tensor] = {}

    def judge(self, pictures: Sequence[Image], rows: Sequence[Row]) -> list[Mapping[str, float]]:
        """The cosines, from -1 to 1."""
        import torch

        found: list[Mapping[str, float]] = []
        with torch.inference_mode():
            for start in range(0, len(pictures), AT_ONCE):
                texts = torch.stack([self._vector(self._text.fill(row)) for row in rows[start : start + AT_ONCE]])
                vectors = self._look(pictures[start : start + AT_ONCE])
                found += [{SCORE: value} for value in (texts * vectors).sum(dim=1).tolist()]
        return found

    def _look(self, pictures: Sequence[Image]) -> Tensor:
        inputs = self._processor(images=list(pictures), return_tensors="pt").to(self._model.device)
        return _unit(self._model.get_image_features(**inputs))

    def _vector(self, text: str) -> Tensor:
        if text not in self._texts:
            # As these models were trained: SigLIP has no other way, and CLIP gives padding no say.
            longest = self._model.config.text_config.max_position_embeddings
            inputs = self._processor(
                text=[text], padding="max_length", truncation=True, max_length=longest, return_tensors="pt"
            )
            self._texts[text] = _unit(self._model.get_text_features(**inputs.to(self._model.device)))[0]
        return self._texts[text]


def _unit(features: Any) -> Tensor:
    """Vectors of length 1."""
    vectors: Tensor = getattr(features, "pooler_output", features)
    unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return unit
