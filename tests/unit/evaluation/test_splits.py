import pytest

from evaluation.errors import EvaluationError
from evaluation.splits import SHARES, Division, Split, SplitSizes, TaskItems, assign_split, choose_items, divide_items

TEST = [f"test {n}" for n in range(400)]
TRAIN = [f"train {n}" for n in range(300)]
ALL = SplitSizes()


def material(test: list[str], *own: list[str]) -> TaskItems:
    """Documents that are each a subject of their own."""
    return TaskItems({item: item for item in test}, [{item: item for item in items} for items in own])


def divide_one(test: list[str], *own: list[str], sizes: SplitSizes = ALL) -> Division:
    return divide_items(0, {"task": material(test, *own)}, sizes)["task"]


def test_one_set_is_divided_50_25_25_into_disjoint_parts_that_cover_it() -> None:
    division = divide_one(TEST)
    parts = [division.items[split] for split in Split]
    assert sorted(item for part in parts for item in part) == sorted(TEST)
    assert [len(part) for part in parts] == pytest.approx([200, 100, 100], abs=30)
    assert division.held_out == {*parts[1], *parts[2]}
    assert not division.own_search


def test_the_split_of_an_item_depends_on_the_seed_but_not_on_other_items_nor_the_task() -> None:
    def searched(test: list[str], task: str = "task", seed: int = 0) -> set[str]:
        return set(divide_items(seed, {task: material(test)}, SplitSizes())[task].items[Split.SEARCH])

    known = searched(TEST)
    assert searched(TEST[:100][::-1]) == known & set(TEST[:100])
    assert searched(TEST, task="other") == known
    assert len(known ^ searched(TEST, seed=1)) > 100


def test_no_subject_is_in_two_splits_of_any_two_tasks() -> None:
    """Variants of one task: as it is, reworded with other items, without training set, one that tests another's."""
    tasks = {
        "plain": material(TEST, TRAIN),
        "reworded": TaskItems({f"reworded {s}": s for s in TEST}, [{f"reworded {s}": s for s in TRAIN}]),
        "no training set": TaskItems({f"bare {s}": s for s in TEST[:200]}),
        "tests training": TaskItems({f"tested {s}": s for s in TRAIN[:150]}, [{f"tested {s}": s for s in TEST}]),
    }
    subjects = {item: s for m in tasks.values() for pile in (m.test, *m.own) for item, s in pile.items()}
    divided = divide_items(0, tasks, SplitSizes())
    used = {split: {subjects[i] for d in divided.values() for i in d.items[split]} for split in Split}
    assert not used[Split.SEARCH] & used[Split.VALIDATION]
    assert not used[Split.REPORT] & (used[Split.SEARCH] | used[Split.VALIDATION])
    for division in divided.values():
        assert used[Split.VALIDATION] | used[Split.REPORT] <= division.held_out
        assert all(len(division.items[split]) >= 20 for split in Split)
    assert {name: division.own_search for name, division in divided.items()} == {
        "plain": True,
        "reworded": True,
        "no training set": False,
        "tests training": False,
    }
    assert set(divided["plain"].items[Split.SEARCH]) == set(TRAIN[150:])


def test_a_smaller_limit_takes_a_part_of_what_a_larger_one_takes() -> None:
    assert choose_items(0, TEST, 10) == choose_items(0, TEST[::-1], 50)[:10]
    items = divide_one(TEST, sizes=SplitSizes(search=20, validation=10, report=5)).items
    assert [len(items[split]) for split in Split] == [20, 10, 5]


def test_the_tasks_own_documents_serve_the_search_and_the_test_set_the_rest() -> None:
    division = divide_one(TEST, [], [*TRAIN, *TEST[:50]])
    assert sorted(division.items[Split.SEARCH]) == sorted(TRAIN)
    assert division.held_out == set(TEST)
    assert len(division.items[Split.VALIDATION]) == pytest.approx(200, abs=30)
    assert division.own_search


def test_a_handful_of_own_documents_is_not_enough_for_the_search() -> None:
    assert not divide_one(TEST, TRAIN[:99]).own_search
    assert divide_one(TEST, TRAIN[:100]).own_search
    assert divide_one(TEST, TRAIN[:8], sizes=SplitSizes(search=8)).own_search
    assert divide_one(TEST[:20], TRAIN[:20]).own_search
    better = divide_one(TEST, TRAIN[:8], TRAIN[8:])
    assert set(better.items[Split.SEARCH]) == set(TRAIN[8:])


def test_a_task_that_the_search_does_not_ask_has_no_search_items_and_loses_none_to_it() -> None:
    guard = TaskItems({item: item for item in TEST}, [{item: item for item in TRAIN}], in_search=False)
    division = divide_items(0, {"guard": guard}, ALL)["guard"]
    assert division.items[Split.SEARCH] == () and not division.own_search
    assert sorted(division.items[Split.VALIDATION] + division.items[Split.REPORT]) == sorted(TEST)
    # Another task searches half of the same subjects, and these are left out of the guard.
    divided = divide_items(0, {"guard": guard, "skill": material(TEST)}, ALL)
    for split in (Split.VALIDATION, Split.REPORT):
        assert divided["guard"].items[split] == divided["skill"].items[split]


def test_shares_are_kept_over_many_items() -> None:
    counts = dict.fromkeys(Split, 0)
    for number in range(20_000):
        counts[assign_split(3, str(number), SHARES)] += 1
    assert [counts[split] / 20_000 for split in Split] == pytest.approx([0.5, 0.25, 0.25], abs=0.015)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(EvaluationError, match="items of the report split: 0; give at least 1"):
        SplitSizes(report=0)
