"""The judge `yes`: how likely a vision-language model says yes to a question about the picture.

Lin et al., "Evaluating text-to-visual generation with image-to-text generation" (VQAScore), 2024; here the likelihood
of "Yes" is divided by that of "Yes" and "No" together, so that other ways to begin an answer do not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.errors import EvaluationError
from evaluation.eval_set import PLACE
from evaluation.pictures.judges.judge import SCORE, JudgeRepo, load_judge_model, parse_model_settings
from evaluation.pictures.rows import Row, RowText

if TYPE_CHECKING:
    from PIL.Image import Image

    from evaluation.harness.modalities.picture_engine_lm import PictureEngineLM

QUESTION = 'Does this picture show "{{prompt}}"? Please answer yes or no.'
ANSWERS = ("Yes", "No")


@dataclass(frozen=True)
class YesSettings:
    """A model, and what it is asked."""

    repo: JudgeRepo
    question: RowText

    name = "yes"
    graded = True

    @property
    def description(self) -> str:
        """As `JudgeSettings`."""
        return f"yes by {self.repo}"

    @property
    def facts(self) -> object:
        """As `JudgeSettings`."""
        return [self.name, self.repo.repo, self.repo.revision, self.question.text]

    def check_row(self, row: Row) -> None:
        """The row must make a question."""
        self.question.fill(row)

    def open(self, folder: Path | None, device: str) -> YesJudge:
        """Load the model, in its own dtype."""
        from transformers import AutoModelForImageTextToText

        from evaluation.harness.modalities.picture_engine_lm import PictureEngineLM
        from evaluation.harness.process_state import quiet

        model, processor = load_judge_model(self.description, folder, AutoModelForImageTextToText, device, "auto")
        try:
            with quiet():
                return YesJudge(PictureEngineLM(model, processor, device), self.question)
        except EvaluationError as error:
            raise EvaluationError(f"{self.description}: {error}") from error


def parse_yes(value: object) -> YesSettings:
    """Read `repo`, `revision` and `question`."""
    repo, given = parse_model_settings(value, {"question": False})
    return YesSettings(repo, RowText(".question", str(given.get("question", QUESTION))))


class YesJudge:
    """Asks about pictures on the engine, as vision-language models that are scored are asked."""

    def __init__(self, lm: PictureEngineLM, question: RowText) -> None:
        self._lm, self._question = lm, question

    def judge(self, pictures: Sequence[Image], rows: Sequence[Row]) -> list[Mapping[str, float]]:
        """P(yes) / (P(yes) + P(no)) of each picture."""
        from evaluation.harness.process_state import quiet

        asked = [self._prompt(self._question.fill(row)) for row in rows]
        with quiet():
            found = self._lm.ask_once(list(zip(asked, pictures, strict=True)), self._answers)
        return [{SCORE: 1 / (1 + math.exp(min(no - yes, 700.0)))} for yes, no in found]

    @property
    def _answers(self) -> tuple[str, ...]:
        """As they follow a prompt."""
        return ANSWERS if self._lm.prompts.chat_template else tuple(f" {answer}" for answer in ANSWERS)

    def _prompt(self, question: str) -> str:
        if self._lm.prompts.chat_template:
            return self._lm.prompts.render_chat([{"role": "user", "content": f"{PLACE}\n{question}"}])
        return f"{PLACE}\n{question}\nAnswer:"
