"""Rows of prompt files, texts made of them, and items: a row with its prompt and its seed. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from evaluation.errors import EvaluationError
from evaluation.items import item_id, subject_id

Row = Mapping[str, object]

MOST_SEED = 2**63 - 1
_TEMPLATES = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)


@dataclass(frozen=True)
class RowText:
    """A text made of a row: a column's name, or a Jinja template over the columns. key: the task file's, for errors."""

    key: str
    text: str

    def __post_init__(self) -> None:
        if self._is_template:
            try:
                _TEMPLATES.from_string(self.text)
            except jinja2.TemplateError as error:
                raise EvaluationError(f"{self.key}: got {self.text!r}: it is no Jinja template: {error}") from error

    @property
    def _is_template(self) -> bool:
        return "{{" in self.text or "{%" in self.text

    @cached_property
    def _template(self) -> jinja2.Template:
        return _TEMPLATES.from_string(self.text)

    def fill(self, row: Row) -> str:
        """The text of a row. Raises EvaluationError for one that has not what it needs."""
        if not self._is_template:
            value = row.get(self.text)
            if not isinstance(value, str) or not value.strip():
                columns = ", ".join(sorted(row)) or "none"
                raise EvaluationError(f"{self.key}: no text in column {self.text!r}; its columns are {columns}")
            return value
        try:
            made = self._template.render(dict(row))
        except Exception as error:  # a template may do anything with the columns
            raise EvaluationError(f"{self.key}: {self.text!r} cannot be filled: {error}") from error
        if not made.strip():
            raise EvaluationError(f"{self.key}: {self.text!r} gives no text")
        return made


@dataclass(frozen=True)
class PictureItem:
    """A picture to draw, and to judge.

    item: its id, of all columns, the prompt and the seed. subject: id of what it is about. seed: that of its noise.
    row: what a judge may look at: the columns, with prompt and seed.
    """

    item: str
    subject: str
    prompt: str
    seed: int
    row: Row


def read_items(path: Path, prompt: RowText, subject: RowText | None, seeds: int) -> dict[str, PictureItem]:
    """The items of a file, by id, in its order. Raises EvaluationError, which names the line."""
    found: dict[str, PictureItem] = {}
    drawn: dict[tuple[str, int], int] = {}
    for line, row in _read_rows(path):
        try:
            for item in _items_of(row, prompt, subject, seeds):
                earlier = drawn.setdefault((item.prompt, item.seed), line)
                if item.item in found or earlier != line:
                    raise EvaluationError(
                        f"its prompt {item.prompt[:60]!r} is that of line {earlier}, with the same seed; leave "
                        "one out, or give it another seed"
                    )
                found[item.item] = item
        except EvaluationError as error:
            raise EvaluationError(f"{path.name} line {line}: {error}") from error
    if not found:
        raise EvaluationError(f"{path.name}: it has no prompts")
    return found


def make_seed(prompt: str, number: int) -> int:
    """The seed of the picture with this number of a prompt: 31 bits, the same on every machine."""
    text = json.dumps([prompt, number], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1


def _items_of(row: Row, prompt: RowText, subject: RowText | None, seeds: int) -> Iterator[PictureItem]:
    text = prompt.fill(row)
    about = text if subject is None else subject.fill({**row, "prompt": text})
    own = row.get("seed")
    if own is not None and (isinstance(own, bool) or not isinstance(own, int) or not 0 <= own <= MOST_SEED):
        raise EvaluationError(f"seed: got {own!r}: give a whole number of at least 0")
    if own is not None and seeds > 1:
        raise EvaluationError(f"seed: got {own}, but the task's seeds is {seeds}; leave one of them out")
    for number in range(seeds):
        seed = own if isinstance(own, int) else make_seed(text, number)
        whole = {**row, "prompt": text, "seed": seed}
        yield PictureItem(item_id(whole), subject_id({"subject": about}, "subject"), text, seed, whole)


def _read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path.name}: it cannot be read as text ({error}); correct dataset") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield (
                number,
                {"prompt": line.strip()} if path.suffix == ".txt" else _parse(line, f"{path.name} line {number}"),
            )


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise EvaluationError(f"{where}: it is no JSON ({error})") from error
    if not isinstance(row, dict):
        raise EvaluationError(f'{where}: got a {type(row).__name__}: give an object, such as {{"prompt": "a cat"}}')
    return row
