import datetime
import hashlib

import pytest

from evaluation.errors import EvaluationError
from evaluation.items import item_id, subject_id, text_column

QUESTIONS = [f"What is {n} plus {n}?" for n in range(50)]


def test_an_item_is_named_by_its_content() -> None:
    expected = hashlib.sha256('{"a": 1, "b": "é"}'.encode()).hexdigest()[:16]
    assert item_id({"a": 1, "b": "é"}) == item_id({"b": "é", "a": 1}) == expected
    assert item_id({"a": 1}) != item_id({"a": "1"})
    dated = {"day": datetime.date(2026, 1, 2), "raw": b"\x01"}
    assert item_id(dated) == item_id({"day": "2026-01-02", "raw": "01"})
    with pytest.raises(EvaluationError, match="a document holds a object, which has no stable text"):
        item_id({"a": object()})


def test_the_text_column_is_the_question_not_an_instruction_number_or_passage() -> None:
    docs = [
        {"id": n, "instruction": "Answer in one word. " * 9, "passage": "x" * 9000 + str(n % 2), "question": question}
        for n, question in enumerate(QUESTIONS)
    ]
    assert text_column(docs, ["id", "instruction", "passage", "question", "absent"]) == "question"
    assert text_column(docs, ["absent"]) is None


def test_a_subject_is_its_text_whatever_else_a_document_holds() -> None:
    known = subject_id({"question": "What is 1 plus 1?", "answer": "2"}, "question")
    assert known == subject_id({"id": 7, "prompt": " what is\n1 plus 1? "}, "prompt")
    assert known != subject_id({"question": "What is 1 plus 2?", "answer": "2"}, "question")


def test_a_document_without_its_text_is_a_subject_of_its_own() -> None:
    for column in (None, "absent", "blank"):
        assert subject_id({"n": 1, "blank": " "}, column) != subject_id({"n": 2, "blank": " "}, column)
