"""The registry of judges. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from evaluation.errors import EvaluationError
from evaluation.pictures.judges.judge import JudgeParser, JudgeSettings
from evaluation.pictures.judges.objects import parse_objects
from evaluation.pictures.judges.rule import parse_rule
from evaluation.pictures.judges.similarity import parse_similarity
from evaluation.pictures.judges.yes import parse_yes

JUDGES: Mapping[str, JudgeParser] = MappingProxyType(
    {"rule": parse_rule, "similarity": parse_similarity, "yes": parse_yes, "objects": parse_objects}
)
"""How the settings of each kind of judge are read."""


def parse_judge(key: str, value: object) -> JudgeSettings:
    """A task file's judge under this key. Raises EvaluationError, which names the key."""
    if not isinstance(value, Mapping) or len(value) != 1:
        raise EvaluationError(f"{key}: got {value!r}: give one judge: {', '.join(JUDGES)}")
    ((name, settings),) = value.items()
    if name not in JUDGES:
        raise EvaluationError(f"{key}.{name}: there is no such judge; use {', '.join(JUDGES)}")
    try:
        return JUDGES[name](settings)
    except EvaluationError as error:
        raise EvaluationError(f"{key}.{name}{error}") from error
