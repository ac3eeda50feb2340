"""Which tokens of many sequences are computed once: a radix tree, cut into trunks and rows.

A trunk is a beginning that many rows share: its keys and values are computed once and lent to them. A row is what
goes through the model at once: a branch of the tree with all its twigs side by side, told apart by the attention
mask (tree attention, as in SpecInfer, Miao et al. 2023, arXiv 2305.09781).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Path:
    """One sequence of tokens; nobody asks for logits at its first `free` tokens, which a trunk may hold."""

    tokens: tuple[int, ...]
    free: int


@dataclass(frozen=True)
class Row:
    """A branch of the tree, depth first, behind its trunk.

    tokens, positions: of each column; a position counts from the beginning of the sequence.
    ends: the column behind the last descendant of each column: column k is seen from column q iff k <= q < ends[k].
    leaves: (index of a path, the columns that hold it behind the trunk).
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    ends: tuple[int, ...]
    leaves: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass
class Prefix:
    """Tokens that all its rows share, behind the trunk numbered `parent`; they begin at position `start`.

    The first trunk of a tree is the empty one, of which all others grow.
    """

    parent: int | None
    start: int
    tokens: tuple[int, ...]
    rows: list[Row] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The number of tokens that are known behind this trunk."""
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Cut:
    """How a tree is cut.

    row: columns up to which a branch is one row; 0 gives each path a row of its own. A row that is no longer than
        twice its longest path is always taken.
    gain: tokens that a trunk must save its rows together.
    """

    row: int
    gain: int


@dataclass
class _Node:
    """An edge of the tree and what hangs on it: `tokens[start:end]` of the path `sample`."""

    start: int
    end: int
    sample: int
    parent: int | None
    stops: list[int]  # the paths that end here
    children: list[int] = field(default_factory=list)
    below: int = 0  # tokens of all descendants
    longest: int = 0  # the longest path through here
    free: int = 0  # the least free beginning of the paths through here
    rows: int = 0  # rows that the branch becomes, at least

    @property
    def length(self) -> int:
        return self.end - self.start


def cut_tree(paths: Sequence[Path], cut: Cut) -> list[Prefix]:
    """Trunks in depth-first order, parents first; every path is a leaf of exactly one row. Paths must differ."""
    nodes = _tree(paths)
    _sum_up(nodes, paths, cut)
    prefixes = [Prefix(None, 0, ())]
    waiting = [(0, 0)] if nodes else []  # (node, trunk)
    while waiting:
        index, held_by = waiting.pop()
        node, prefix = nodes[index], prefixes[held_by]
        if not node.children or _fits(node, prefix.end, cut):
            prefix.rows.append(_row(nodes, paths, index, prefix.end))
            continue
        end = min(node.end, node.free)
        if (end - prefix.end) * (node.rows - 1) >= cut.gain:
            prefixes.append(Prefix(held_by, prefix.end, paths[node.sample].tokens[prefix.end : end]))
            held_by, prefix = len(prefixes) - 1, prefixes[-1]
        prefix.rows.extend(_alone(paths, stop, prefix.end) for stop in node.stops)
        waiting.extend((child, held_by) for child in reversed(node.children))
    return prefixes


def _tree(paths: Sequence[Path]) -> list[_Node]:
    """The radix tree in depth-first order, the root first."""
    order = sorted(range(len(paths)), key=lambda index: paths[index].tokens)
    nodes: list[_Node] = []
    waiting: list[tuple[int, int, int, int | None]] = [(0, len(order), 0, None)] if order else []
    while waiting:
        low, high, start, parent = waiting.pop()
        first, last = paths[order[low]].tokens, paths[order[high - 1]].tokens
        end = _shared(first, last, start)
        if parent is not None:
            nodes[parent].children.append(len(nodes))
        here, begin = len(nodes), low
        while begin < high and len(paths[order[begin]].tokens) == end:
            begin += 1
        nodes.append(_Node(start, end, order[low], parent, order[low:begin]))
        children = _children(paths, order, begin, high, end)
        waiting.extend((low, high, end, here) for low, high in reversed(children))
    return nodes


def _shared(first: tuple[int, ...], last: tuple[int, ...], start: int) -> int:
    """How many tokens two sequences share; the first `start` are known to be."""
    low, high = start, min(len(first), len(last))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == last[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _children(paths: Sequence[Path], order: list[int], low: int, high: int, at: int) -> list[tuple[int, int]]:
    """Ranges of the sorted paths that go on with the same token."""
    children = []
    while low < high:
        token, begin = paths[order[low]].tokens[at], low
        while low < high and paths[order[low]].tokens[at] == token:
            low += 1
        children.append((begin, low))
    return children


def _sum_up(nodes: list[_Node], paths: Sequence[Path], cut: Cut) -> None:
    for node in reversed(nodes):  # children come behind their parents
        children = [nodes[child] for child in node.children]
        node.below = sum(child.length + child.below for child in children)
        node.longest = max([node.end, *(child.longest for child in children)])
        node.free = min([paths[stop].free for stop in node.stops] + [child.free for child in children])
        whole = not children or _fits(node, node.start, cut)
        node.rows = 1 if whole else len(node.stops) + sum(child.rows for child in children)


def _fits(node: _Node, known: int, cut: Cut) -> bool:
    """Whether the branch from the column `known` on is short enough for one row."""
    return bool(cut.row) and node.end - known + node.below <= max(cut.row, 2 * (node.longest - known))


def _alone(paths: Sequence[Path], index: int, known: int) -> Row:
    """One path as a row."""
    length = len(paths[index].tokens)
    own = length - known
    positions, columns = tuple(range(known, length)), tuple(range(own))
    return Row(paths[index].tokens[known:], positions, (own,) * own, ((index, columns),))


def _row(nodes: list[_Node], paths: Sequence[Path], top: int, known: int) -> Row:
    """A whole branch as a row, with all that leads to it behind the `known` tokens."""
    tokens: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    leaves: list[tuple[int, tuple[int, ...]]] = []
    waiting: list[tuple[int, tuple[int, ...]]] = [(top, ())]
    while waiting:
        index, before = waiting.pop()
        node = nodes[index]
        start = node.start if index != top else known
        here = len(tokens)
        columns = before + tuple(range(here, here + node.end - start))
        tokens.extend(paths[node.sample].tokens[start : node.end])
        positions.extend(range(start, node.end))
        ends.extend([here + node.end - start + node.below] * (node.end - start))
        leaves.extend((stop, columns) for stop in node.stops)
        waiting.extend((child, columns) for child in reversed(node.children))
    return Row(tuple(tokens), tuple(positions), tuple(ends), tuple(leaves))
