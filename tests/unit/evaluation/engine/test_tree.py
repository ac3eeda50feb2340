"""Rows and prefixes hold every path once, and batches stay within their limits."""

import random
from functools import cache
from types import SimpleNamespace

import pytest
import torch

from evaluation.engine.batches import BatchLimits, cut_batches, free_memory, longest_first
from evaluation.engine.tree import Cut, Path, Prefix, Row, SharedPrefixes, cut_tree


def beginning(prefixes: list[Prefix], number: int | None) -> tuple[int, ...]:
    """All tokens up to the end of a prefix."""
    if number is None:
        return ()
    return beginning(prefixes, prefixes[number].parent) + prefixes[number].tokens


def seen_from(row: Row, column: int) -> list[int]:
    return [key for key in range(len(row.tokens)) if key <= column < row.ends[key]]


def random_paths(seed: int) -> list[Path]:
    """Sequences of few tokens, so that many share beginnings and some are the beginning of others."""
    draw = random.Random(seed)
    tokens = {tuple(draw.randrange(3) for _ in range(draw.randint(1, 9))) for _ in range(60)}
    examples = (7, 8, 9) * 4
    made = sorted(tokens) + [examples + one for one in sorted(tokens)[:25]]
    draw.shuffle(made)
    return [Path(one, draw.randint(max(0, len(one) - 4), len(one) - 1)) for one in made]


@pytest.mark.parametrize("cut", [Cut(0, 1), Cut(0, 10**9), Cut(8, 4), Cut(40, 2), Cut(10**6, 1)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_every_path_is_a_leaf_that_sees_itself_alone(seed: int, cut: Cut) -> None:
    paths = random_paths(seed)
    prefixes = cut_tree(paths, cut)
    found = []
    for number, prefix in enumerate(prefixes):
        assert prefix.parent is None or (prefix.parent < number and prefix.start == prefixes[prefix.parent].end)
        for row in prefix.rows:
            assert len(row.tokens) == len(row.positions) == len(row.ends)
            for leaf, columns in row.leaves:
                path = paths[leaf]
                assert path.tokens == beginning(prefixes, number) + tuple(row.tokens[column] for column in columns)
                assert [row.positions[column] for column in columns] == list(range(prefix.end, len(path.tokens)))
                assert seen_from(row, columns[-1]) == list(columns)
                assert prefix.end <= path.free
                found.append(leaf)
    assert sorted(found) == list(range(len(paths)))


@pytest.mark.parametrize("cut", [Cut(0, 1), Cut(8, 4), Cut(40, 2)], ids=str)
def test_parts_of_a_tree_have_its_prefixes_and_every_path_once(cut: Cut) -> None:
    paths = random_paths(1)
    shared = SharedPrefixes.of(paths, cut)
    prefixes = list(shared.prefixes)
    assert len(prefixes) > 1
    found = []
    for chosen in (paths[::3], paths[1::3], paths[2::3]):
        part = shared.part(chosen, cut)
        assert [(one.parent, one.start, one.tokens) for one in part] == [
            (one.parent, one.start, one.tokens) for one in prefixes
        ]
        for number, prefix in enumerate(part):
            for row in prefix.rows:
                for leaf, columns in row.leaves:
                    own = tuple(row.tokens[column] for column in columns)
                    assert chosen[leaf].tokens == beginning(prefixes, number) + own
                    assert seen_from(row, columns[-1]) == list(columns) and prefix.end <= chosen[leaf].free
                    found.append(chosen[leaf].tokens)
    assert sorted(found) == sorted(path.tokens for path in paths)


def test_shared_tokens_are_computed_once() -> None:
    examples, questions = tuple(range(100, 140)), [(number, 50, 51) for number in range(30)]
    paths = [Path((*examples, *question, choice), 43) for question in questions for choice in (60, 61, 62)]
    prefixes = cut_tree(paths, Cut(row=64, gain=64))
    assert [prefix.tokens for prefix in prefixes] == [(), examples]
    assert not prefixes[0].rows
    assert [len(row.tokens) for row in prefixes[1].rows] == [6] * 30
    alone = cut_tree(paths, Cut(row=0, gain=64))
    assert sum(len(row.tokens) for prefix in alone for row in prefix.rows) == 90 * 4


def test_a_beginning_that_saves_too_little_is_not_made_a_prefix() -> None:
    paths = [Path((1, 2, 3, number), 3) for number in range(10)]
    assert [len(prefix.tokens) for prefix in cut_tree(paths, Cut(0, 27))] == [0, 3]
    assert [len(prefix.tokens) for prefix in cut_tree(paths, Cut(0, 28))] == [0]


def test_a_prefix_ends_before_the_first_token_that_needs_logits() -> None:
    paths = [Path((1, 2, 3, 4, number), 2) for number in range(20)]
    prefixes = cut_tree(paths, Cut(0, 1))
    assert [prefix.tokens for prefix in prefixes] == [(), (1, 2)]


def test_a_thousand_nested_paths_need_no_deep_recursion() -> None:
    paths = [Path(tuple(range(length)), length - 1) for length in range(1, 1200)]
    rows = [row for prefix in cut_tree(paths, Cut(2000, 10**9)) for row in prefix.rows]
    assert [len(row.tokens) for row in rows] == [1199]
    assert len(rows[0].leaves) == 1199


def test_no_paths_make_no_rows() -> None:
    assert [prefix.rows for prefix in cut_tree([], Cut(8, 1))] == [[]]


def test_batches_stay_within_area_and_load() -> None:
    draw = random.Random(1)
    widths = [draw.randint(1, 40) for _ in range(200)]
    loads = [draw.randint(0, 9) for _ in widths]
    order = longest_first(widths)
    assert [widths[index] for index in order] == sorted(widths, reverse=True)
    for sequence in (widths, [widths[index] for index in order]):
        cuts = cut_batches(sequence, 100, loads, 30)
        assert [index for cut in cuts for index in range(cut.start, cut.stop)] == list(range(200))
        for cut in cuts:
            rows = sequence[cut]
            assert len(rows) * max(rows) <= 100 and sum(loads[cut]) <= 30
    assert cut_batches([500, 1], 100) == [slice(0, 1), slice(1, 2)]
    assert cut_batches([], 100) == []


def test_a_gpus_limits_follow_its_free_memory_at_the_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model of 8 billion weights: 32 layers with 8 heads of 128 numbers for keys and values, 128000 words."""
    gib = 2**30
    sizes = {"num_key_value_heads": 8, "head_dim": 128, "num_hidden_layers": 32, "hidden_size": 4096}
    config = SimpleNamespace(**sizes, vocab_size=128_000, get_text_config=lambda: config)

    def limits(device: str) -> BatchLimits:
        return BatchLimits.of(
            SimpleNamespace(
                config=config, num_parameters=lambda: 8 * 10**9, dtype=torch.bfloat16, device=torch.device(device)
            )
        )

    column, logits = 2 * 32 * 8 * 128 * 2, 128_000 * 4
    free = {"cuda:0": 70 * gib, "cuda:1": 9 * gib}
    monkeypatch.setattr("evaluation.engine.batches.free_memory", cache(free_memory.__wrapped__))  # knows nothing yet
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free[str(device)], 80 * gib))
    large, small = limits("cuda:0"), limits("cuda:1")
    assert 12 * gib < large.cache * column <= 70 * gib / 4 and gib / 2 < large.logits * logits <= 70 * gib / 16
    assert gib < small.cache * column <= 9 * gib / 4
    assert large.tokens == small.tokens > limits("cpu").tokens
    assert limits("cpu").cache * column < 4 * gib
    free["cuda:0"] = 60 * gib
    assert limits("cuda:0") == large
