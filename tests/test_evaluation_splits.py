import datetime
import hashlib

import pytest

from evaluation.errors import EvaluationError
from evaluation.splits import SHARES, Split, SplitSizes, assign, divide, item_id, pick

TEST = [item_id({"n": n}) for n in range(400)]
TRAIN = [item_id({"n": n}) for n in range(1000, 1300)]


def test_an_item_is_named_by_its_content() -> None:
    expected = hashlib.sha256('{"a": 1, "b": "é"}'.encode()).hexdigest()[:16]
    assert item_id({"a": 1, "b": "é"}) == item_id({"b": "é", "a": 1}) == expected
    assert item_id({"a": 1}) != item_id({"a": "1"})
    dated = {"day": datetime.date(2026, 1, 2), "raw": b"\x01"}
    assert item_id(dated) == item_id({"day": "2026-01-02", "raw": "01"})
    with pytest.raises(EvaluationError, match="a document holds a object, which has no stable text"):
        item_id({"a": object()})


def test_one_set_is_divided_50_25_25_into_disjoint_parts_that_cover_it() -> None:
    division = divide(0, "task", TEST, [], SplitSizes())
    parts = [division.items[split] for split in Split]
    assert sorted(item for part in parts for item in part) == sorted(TEST)
    assert [len(part) for part in parts] == pytest.approx([200, 100, 100], abs=30)
    assert division.held_out == {*parts[1], *parts[2]}
    assert not division.own_search


def test_the_split_of_an_item_depends_on_seed_and_task_but_not_on_other_items() -> None:
    def searched(seed: int, task: str, items: list[str]) -> set[str]:
        return set(divide(seed, task, items, [], SplitSizes()).items[Split.SEARCH])

    known = searched(0, "task", TEST)
    assert searched(0, "task", TEST[:100][::-1]) == known & set(TEST[:100])
    assert len(known ^ searched(1, "task", TEST)) > 100
    assert len(known ^ searched(0, "other", TEST)) > 100


def test_a_smaller_limit_takes_a_part_of_what_a_larger_one_takes() -> None:
    assert pick(0, "task", TEST, 10) == pick(0, "task", TEST[::-1], 50)[:10]
    sizes = SplitSizes(search=20, validation=10, report=5)
    items = divide(0, "task", TEST, [], sizes).items
    assert [len(items[split]) for split in Split] == [20, 10, 5]


def test_the_tasks_own_documents_serve_the_search_and_the_test_set_the_rest() -> None:
    division = divide(0, "task", TEST, [[], [*TRAIN, *TEST[:50]]], SplitSizes())
    assert sorted(division.items[Split.SEARCH]) == sorted(TRAIN)
    assert division.held_out == set(TEST)
    assert len(division.items[Split.VALIDATION]) == pytest.approx(200, abs=30)
    assert division.own_search


def test_a_handful_of_own_documents_is_no_search_set() -> None:
    assert not divide(0, "task", TEST, [TRAIN[:99]], SplitSizes()).own_search
    assert divide(0, "task", TEST, [TRAIN[:100]], SplitSizes()).own_search
    assert divide(0, "task", TEST, [TRAIN[:8]], SplitSizes(search=8)).own_search
    assert divide(0, "task", TEST[:20], [TRAIN[:20]], SplitSizes()).own_search
    better = divide(0, "task", TEST, [TRAIN[:8], TRAIN[8:]], SplitSizes())
    assert set(better.items[Split.SEARCH]) == set(TRAIN[8:])


def test_shares_are_kept_over_many_items() -> None:
    counts = dict.fromkeys(Split, 0)
    for number in range(20_000):
        counts[assign(3, "task", str(number), SHARES)] += 1
    assert [counts[split] / 20_000 for split in Split] == pytest.approx([0.5, 0.25, 0.25], abs=0.015)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(EvaluationError, match="items of the report split: 0; give at least 1"):
        SplitSizes(report=0)
