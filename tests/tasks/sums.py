"""Sums with one-digit answers: the documents and metrics of the tasks in this folder."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict

PAIRS = [(a, b) for a in range(12) for b in range(10) if a + b < 12]


def _doc(a: int, b: int) -> dict[str, Any]:
    answer = (a + b) % 10
    choices = [str(digit) for digit in sorted({answer, (answer + 3) % 10, (answer + 7) % 10})]
    choices[-1] += " ."  # of another length, so that acc and acc_norm may differ
    return {
        "question": f"{a} + {b} =",
        "answer": str(answer),
        "choices": choices,
        "gold": [choice.split()[0] for choice in choices].index(str(answer)),
    }


def _split(name: str) -> Dataset:
    places = {"train": (0,), "validation": (1, 2), "test": (3, 4)}[name]
    return Dataset.from_list([_doc(a, b) for index, (a, b) in enumerate(PAIRS) if index % 5 in places])


def three_sets(**_: Any) -> DatasetDict:
    """Train, validation and test documents."""
    return DatasetDict({name: _split(name) for name in ("train", "validation", "test")})


def one_set(**_: Any) -> DatasetDict:
    """All documents as a test set, the first of them twice."""
    docs = [_doc(a, b) for a, b in PAIRS]
    return DatasetDict({"test": Dataset.from_list([*docs, docs[0]])})


def distance(doc: Mapping[str, Any], results: list[str]) -> dict[str, Any]:
    """How far off the answer is, 10 if it is no digit; and the answer itself, which is no number."""
    text = results[0].strip()[:1]
    return {"error": abs(int(text) - int(doc["answer"])) if text.isdigit() else 10, "answer": text}


def reworded(docs: Dataset) -> Dataset:
    """The documents with the question put into more words, as another column."""
    return docs.map(lambda doc: {"query": f"now add up what is asked here : {doc['question']}"})


def shuffled(docs: Dataset) -> Dataset:
    """The documents in a random order, and their choices too; a third generator adds a number."""

    def shuffle(doc: dict[str, Any]) -> dict[str, Any]:
        choices = random.sample(doc["choices"], len(doc["choices"]))
        gold = choices.index(doc["choices"][doc["gold"]])
        return {"choices": choices, "gold": gold, "drawn": [float(np.random.rand()), float(torch.rand(1))]}

    return docs.map(shuffle, load_from_cache_file=False).shuffle()
