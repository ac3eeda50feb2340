"""What a document is: one item of one task, and one subject that documents of several tasks may have in common."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from evaluation.errors import EvaluationError

Doc = Mapping[str, Any]

COUNTED = 200  # characters of a text that tell documents apart: few long passages are not worth many questions


def item_id(doc: Doc) -> str:
    """16 hex digits that name a document by its whole content: scores are kept by it."""
    return _short_hash(_json(doc))


def telling_column(docs: Iterable[Doc], columns: Collection[str]) -> str | None:
    """The one of `columns` that tells most of what the documents are about; None if no document has any of them.

    That is the one with the most text in distinct values: the question rather than the instruction above it,
    which is longer but the same everywhere, and rather than the few letters of an answer or a number.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for doc in docs:
        for column in columns:
            if column in doc:
                values[column].add(_text(doc[column]))
    return max(sorted(values), key=lambda column: sum(min(len(text), COUNTED) for text in values[column]), default=None)


def subject(doc: Doc, column: str | None) -> str:
    """16 hex digits that name what a document is about, by the text of its task's telling column.

    Documents of one subject never stand in two splits, whatever their tasks, prompts, ids and other columns.
    The column's name, white space and case do not count. A document without such a text is a subject of its own.
    Not seen: a question that two data sets share while another column (a worked answer, say) tells most in one.
    """
    text = _text(doc[column]) if column is not None and column in doc else ""
    return _short_hash(text) if text else item_id(doc)


def _text(value: Any) -> str:
    return " ".join((value if isinstance(value, str) else _json(value)).split()).casefold()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Columns that JSON does not know: arrays, bytes, dates. Anything else has no stable text."""
    for method in ("tolist", "hex", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise EvaluationError(f"a document holds a {type(value).__name__}, which has no stable text; drop the column")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
