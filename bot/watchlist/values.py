"""The values of a watchlist's keys: text of a form, amounts, languages, licences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from bot.watchlist.licence_ids import LICENCES, LicenceKind
from evaluation.answers.language import LANGUAGES

_LETTERS = "KMGT"
_UNITS = {"": 1, "B": 10**9} | {letter: 1000**power for power, letter in enumerate(_LETTERS, 1)}
_UNITS |= {f"{letter}B": _UNITS[letter] for letter in _LETTERS}
_UNITS |= {f"{letter}IB": 1024**power for power, letter in enumerate(_LETTERS, 1)}
_AMOUNT = re.compile("([0-9]+(?:\\.[0-9]+)?) ?([Bb]?|[KMGTkmgt](?:[Ii]?[Bb])?)")


def parse_amount(text: str) -> int:
    """`360M`, `7b`, `16GB`, `16 GiB` as whole numbers; ValueError for any other text."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError("is not an amount; write a whole number or one like 360M, 1.5B, 16GB")
    return int(Fraction(match[1]) * _UNITS[match[2].upper()])


def anchored(pattern: str) -> str:
    """A pattern for the whole of a text, by itself: in Python, `$` alone lets a line break follow."""
    return rf"^(?:{pattern})$(?!\n)"


@dataclass(frozen=True)
class Matching:
    """Text must match all of `pattern`; in errors it is called `what`, with the remedy.

    unwanted: what it must not begin with either, in a file; a pattern too. A contradiction refuses it.
    """

    pattern: str
    what: str
    unwanted: str = ""

    def check(self, value: str) -> str:
        """The value itself; ValueError if it does not match."""
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(f"is not {self.what}")
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """pydantic's check of a value."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        """The same in JSON Schema, where a pattern may match anywhere."""
        lookahead = f"(?!{self.unwanted})" if self.unwanted else ""
        return handler(schema) | {"pattern": anchored(lookahead + self.pattern)}


_WORD = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REVISION = "[A-Za-z0-9][A-Za-z0-9._/-]{0,199}"
_FILE_WORD = "[A-Za-z0-9_][A-Za-z0-9_ .-]{0,199}"
TYPOGRAPHIC_QUOTE = "[\u2018-\u201f\u00ab\u00bb]"
"""A quotation mark that an editor for prose puts where YAML has " or '."""

Slug = Annotated[
    str, Matching("[a-z0-9][a-z0-9-]{0,47}", "a short name; use a-z, 0-9 and hyphens, at most 48 characters")
]
RepoName = Annotated[str, Matching(f"{_WORD}/{_WORD}", "a Hub repo; write owner/name")]
VocabularyChoice = Annotated[
    str,
    Matching(f"same|union|base|{_WORD}/{_WORD}", "a vocabulary; write same, union, base, or a source as owner/name"),
]
Namespace = Annotated[str, Matching(_WORD, "a user or organisation of the Hub; write its name alone")]
Revision = Annotated[str, Matching(_REVISION, "a branch, tag or commit; write its name, or leave it out")]
_WEIGHT_FILE = rf"(?:{_FILE_WORD}/){{0,8}}{_FILE_WORD}\.safetensors"
WeightFile = Annotated[
    str, Matching(_WEIGHT_FILE, "a file of weights; write its path in the repo, which ends in .safetensors")
]
Text = Annotated[
    str,
    Matching(
        r"\S(?:[^\x00-\x1f]*[^\s\x00-\x1f])?",
        "a line of text; write it without line breaks and tabs",
        unwanted=TYPOGRAPHIC_QUOTE,
    ),
]
Amount = Annotated[
    int,
    BeforeValidator(lambda value: parse_amount(value) if isinstance(value, str) else value),
    Field(ge=0),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": anchored(_AMOUNT.pattern)}]}
    ),
]


def _read_range(value: object) -> object:
    """A number as the range from itself to itself; lists as tuples."""
    numbers: list[Any] = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(numbers) != 2 or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        raise ValueError("is neither a number nor a range; write one such as 1.0, or [lowest, highest]")
    if not all(abs(one) <= LARGEST_SCALE for one in numbers):
        raise ValueError(f"is out of range; write numbers of at least -{LARGEST_SCALE} and at most {LARGEST_SCALE}")
    return tuple(map(float, numbers))


LARGEST_SCALE = 10
_SCALE = {"type": "number", "minimum": -LARGEST_SCALE, "maximum": LARGEST_SCALE}
ScaleRange = Annotated[
    tuple[float, float],
    BeforeValidator(_read_range),
    WithJsonSchema({"anyOf": [_SCALE, {"type": "array", "items": _SCALE, "minItems": 2, "maxItems": 2}]}),
]


MOST_STEPS = 1000
StepRange = Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_STEPS)], ...], Field(min_length=2, max_length=2)]

SMALLEST_PICTURE, LARGEST_PICTURE = 8, 4096
"""Pixels of a side."""

PictureSizes = Annotated[
    tuple[Annotated[int, Field(ge=SMALLEST_PICTURE, le=LARGEST_PICTURE)], ...], Field(min_length=2, max_length=16)
]


def _language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError("is not a language that shoal can detect; use an ISO 639-1 code such as ja, de or zh")
    return code


Language = Annotated[str, AfterValidator(_language), WithJsonSchema({"enum": list(LANGUAGES), "type": "string"})]


LICENCE_IDS = tuple(sorted(licence for licence, kind in LICENCES.items() if kind is not LicenceKind.FORBIDS))
"""The licences of which a merge may be published."""

Licence = Annotated[str, WithJsonSchema({"enum": list(LICENCE_IDS), "type": "string"})]
"""The id of one; a watchlist of an older shoal, which a ledger has kept, may hold any text."""

StatedLicence = Annotated[str, WithJsonSchema({"enum": sorted(LICENCES), "type": "string"})]
"""The id of any licence that shoal has a rule for, also of one that forbids publishing."""


class ShortForm:
    """Lets `owner/name` or `owner/name@revision` stand for a group of keys."""

    pattern = f"{_WORD}/{_WORD}(?:@{_REVISION})?"
    what = "a Hub repo; write owner/name or owner/name@revision"

    @classmethod
    def expand(cls, value: object) -> object:
        """Text as the keys it stands for; other values unchanged."""
        if not isinstance(value, str):
            return value
        if re.fullmatch(cls.pattern, value) is None:
            raise ValueError(f"is not {cls.what}")
        named, colon, file = value.partition(":")
        repo, _, revision = named.partition("@")
        return {"repo": repo, "revision": revision or None, **({"file": file} if colon else {})}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """pydantic's check of a value."""
        return core_schema.no_info_before_validator_function(cls.expand, handler(source))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        """Either form."""
        return {"anyOf": [{"type": "string", "pattern": anchored(cls.pattern)}, handler(schema)]}


class ShortFileForm(ShortForm):
    """As `ShortForm`, for a repo of which one file may be meant: both with `:` and its path."""

    pattern = f"{ShortForm.pattern}(?::{_WEIGHT_FILE})?"
    what = "a Hub repo; write owner/name, owner/name@revision, or either with :file.safetensors"
