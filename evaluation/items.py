"""Ids of documents: as an item of a task, and as a subject that documents of several tasks may share."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from PIL.Image import Image

from evaluation.errors import EvaluationError
from evaluation.picture import picture_digest

Doc = Mapping[str, object]

COUNTED = 200  # characters of each text, so that a few long passages do not outweigh many questions


def item_id(doc: Doc, pictures: Sequence[str] = ()) -> str:
    """16 hex digits from a document's whole content; scores are stored under it.

    pictures: digests of the pixels of those that it shows, wherever its task finds them; a path says nothing of them.
    """
    return _short_hash(_json([doc, list(pictures)]) if pictures else _json(doc))


def pictures_id(pictures: Sequence[str]) -> str:
    """16 hex digits of what a document with these pictures (their digests) is about."""
    return _short_hash(_json(list(pictures)))


def text_column(docs: Iterable[Doc], columns: Collection[str]) -> str | None:
    """The column that says what the documents are about; None if no document has any of them.

    It is the column with the most text in distinct values: the question, rather than the instruction above it, which
    is longer but always the same, or the answer, which has few letters.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for doc in docs:
        for column in columns:
            if column in doc:
                values[column].add(_text(doc[column]))
    return max(sorted(values), key=lambda column: sum(min(len(text), COUNTED) for text in values[column]), default=None)


def subject_id(doc: Doc, column: str | None) -> str:
    """16 hex digits of what a document is about, from the text of its task's text column.

    Documents of one subject are never in two splits, whatever their tasks, prompts, ids and other columns. The
    column's name, white space and case do not count. A document without such a text is a subject of its own.
    Not recognised: a question that two data sets share, if in one of them another column (a worked answer, say) is
    taken for the text column.
    """
    text = _text(doc[column]) if column is not None and column in doc else ""
    return _short_hash(text) if text else item_id(doc)


def _text(value: object) -> str:
    return " ".join((value if isinstance(value, str) else _json(value)).split()).casefold()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    """A JSON value for pictures, arrays, bytes and dates; others have no text that is the same in every process."""
    if isinstance(value, Image):
        return picture_digest(value)
    for method in ("tolist", "hex", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise EvaluationError(f"a document holds a {type(value).__name__}, which has no stable text; drop the column")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
