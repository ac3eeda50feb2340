"""A radix tree of token sequences, cut into prefixes and rows, so that shared tokens are computed once.

A prefix is a beginning that several rows share: its keys and values are computed once and lent to them. A row is what
goes through the model as one line of a batch: a whole subtree, its branches one after the other, which the attention
mask keeps apart (tree attention, as in SpecInfer, Miao et al. 2023, arXiv 2305.09781).

For example, the paths [a b c d], [a b c e] and [a b f] may become the prefix [a b] with two rows, [c d e] and [f]:
in the first, d and e both follow c and do not see each other.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Path:
    """One sequence of tokens. Its first `free` tokens need no logits, so that a prefix may hold them."""

    tokens: tuple[int, ...]
    free: int


@dataclass(frozen=True)
class Row:
    """A subtree in depth-first order, without the tokens of the prefix that it continues.

    tokens, positions: one for each column; a position counts from the beginning of the sequence.
    ends: for each column, the column after its last descendant. Column q sees column k iff k <= q < ends[k]: itself,
        its ancestors, and nothing of other branches.
    leaves: (index of a path, the columns of its tokens after the prefix).
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    ends: tuple[int, ...]
    leaves: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass
class Prefix:
    """Tokens that all its rows share; they begin at position `start`, after those of the prefix numbered `parent`.

    The first prefix of a tree is empty, and all others descend from it.
    """

    parent: int | None
    start: int
    tokens: tuple[int, ...]
    rows: list[Row] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Number of tokens up to the end of this prefix, its ancestors' included."""
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Cut:
    """Settings for cutting a tree.

    row: columns up to which a subtree is one row; 0 gives each path a row of its own. A subtree that is no longer than
        twice its longest path is always one row.
    gain: tokens that a prefix must save its rows together.
    """

    row: int
    gain: int


@dataclass
class _Node:
    """A node of the radix tree with the edge that leads to it: `tokens[start:end]` of the path `sample`.

    paths: the paths that end here. The other fields are sums over the subtree, filled in by `_sum_up`:
    below: tokens of all descendants. longest: length of the longest path through here. free: the smallest `free` of
    these paths. rows: number of rows that the subtree becomes if it is cut at every node that does not fit in one.
    """

    start: int
    end: int
    sample: int
    paths: list[int]
    children: list[int] = field(default_factory=list)
    below: int = 0
    longest: int = 0
    free: int = 0
    rows: int = 0

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class SharedPrefixes:
    """The prefixes of a tree, for the trees of parts of its paths: what was computed for one part serves the others.

    numbers: tokens of each path → the prefix that its row continues.
    """

    prefixes: tuple[Prefix, ...]
    numbers: Mapping[tuple[int, ...], int]

    @classmethod
    def of(cls, paths: Sequence[Path], cut: Cut) -> SharedPrefixes:
        """Cut the tree of all paths."""
        prefixes = cut_tree(paths, cut)
        rows = ((number, row) for number, prefix in enumerate(prefixes) for row in prefix.rows)
        return cls(tuple(prefixes), {paths[leaf].tokens: number for number, row in rows for leaf, _ in row.leaves})

    def part(self, paths: Sequence[Path], cut: Cut) -> list[Prefix]:
        """The same prefixes with the rows of some of the paths; prefixes that these do not need have no rows."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index, path in enumerate(paths):
            groups[self.numbers[path.tokens]].append(index)
        prefixes = [Prefix(prefix.parent, prefix.start, prefix.tokens) for prefix in self.prefixes]
        for number, group in groups.items():
            members = [paths[index] for index in group]
            (own,) = cut_tree(members, Cut(cut.row, gain=sys.maxsize), known=prefixes[number].end)
            prefixes[number].rows = [
                replace(row, leaves=tuple((group[leaf], columns) for leaf, columns in row.leaves)) for row in own.rows
            ]
        return prefixes


def cut_tree(paths: Sequence[Path], cut: Cut, known: int = 0) -> list[Prefix]:
    """Prefixes in depth-first order, parents first; every path is a leaf of exactly one row. Paths must differ.

    known: tokens that all paths share and that are computed already.

    The walk goes down from the root. A subtree that fits in a row becomes one, and the walk ends there. Otherwise the
    tokens from the current prefix to this node become a prefix of their own if that saves enough: each of the node's
    rows but one is spared them. If they do not, they are repeated in every row below.
    """
    nodes = _radix_tree(paths)
    _sum_up(nodes, paths, cut)
    prefixes = [Prefix(None, known, ())]
    stack = [(0, 0)] if nodes else []  # (node, number of the prefix that its rows continue)
    while stack:
        index, number = stack.pop()
        node, prefix = nodes[index], prefixes[number]
        if not node.children or _fits(node, prefix.end, cut):
            prefix.rows.append(_subtree_row(nodes, paths, index, prefix.end))
            continue
        end = min(node.end, node.free)  # tokens that need logits must be in a row
        if (end - prefix.end) * (node.rows - 1) >= cut.gain:
            prefixes.append(Prefix(number, prefix.end, paths[node.sample].tokens[prefix.end : end]))
            number, prefix = len(prefixes) - 1, prefixes[-1]
        prefix.rows.extend(_path_row(paths, path, prefix.end) for path in node.paths)
        stack.extend((child, number) for child in reversed(node.children))
    return prefixes


def _radix_tree(paths: Sequence[Path]) -> list[_Node]:
    """The nodes in depth-first order, the root first.

    In sorted order the paths below a node are neighbours, and share what the first and the last of them share.
    """
    order = sorted(range(len(paths)), key=lambda index: paths[index].tokens)
    nodes: list[_Node] = []
    stack: list[tuple[int, int, int, int | None]] = []  # (range of the sorted paths, start of the edge, parent)
    if order:
        stack.append((0, len(order), 0, None))
    while stack:
        low, high, start, parent = stack.pop()
        end = _shared_length(paths[order[low]].tokens, paths[order[high - 1]].tokens, start)
        index, first_below = len(nodes), low
        if parent is not None:
            nodes[parent].children.append(index)
        while first_below < high and len(paths[order[first_below]].tokens) == end:
            first_below += 1
        nodes.append(_Node(start, end, order[low], order[low:first_below]))
        children = _ranges_by_token(paths, order, first_below, high, end)
        stack.extend((begin, stop, end, index) for begin, stop in reversed(children))
    return nodes


def _shared_length(first: tuple[int, ...], last: tuple[int, ...], start: int) -> int:
    """The number of tokens that two sequences share, by bisection; they are known to share `start`."""
    low, high = start, min(len(first), len(last))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == last[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _ranges_by_token(
    paths: Sequence[Path], order: list[int], low: int, high: int, position: int
) -> list[tuple[int, int]]:
    """The ranges of the sorted paths that have the same token at a position."""
    ranges = []
    while low < high:
        token, begin = paths[order[low]].tokens[position], low
        while low < high and paths[order[low]].tokens[position] == token:
            low += 1
        ranges.append((begin, low))
    return ranges


def _sum_up(nodes: list[_Node], paths: Sequence[Path], cut: Cut) -> None:
    for node in reversed(nodes):  # in depth-first order children come after their parents
        children = [nodes[child] for child in node.children]
        node.below = sum(child.length + child.below for child in children)
        node.longest = max([node.end, *(child.longest for child in children)])
        node.free = min([paths[path].free for path in node.paths] + [child.free for child in children])
        whole = not children or _fits(node, node.start, cut)
        node.rows = 1 if whole else len(node.paths) + sum(child.rows for child in children)


def _fits(node: _Node, known: int, cut: Cut) -> bool:
    """Whether the subtree is short enough for one row after a prefix of `known` tokens."""
    return bool(cut.row) and node.end - known + node.below <= max(cut.row, 2 * (node.longest - known))


def _path_row(paths: Sequence[Path], index: int, known: int) -> Row:
    """One path as a row after a prefix of `known` tokens."""
    length = len(paths[index].tokens)
    own = length - known
    positions, columns = tuple(range(known, length)), tuple(range(own))
    return Row(paths[index].tokens[known:], positions, (own,) * own, ((index, columns),))


def _subtree_row(nodes: list[_Node], paths: Sequence[Path], top: int, known: int) -> Row:
    """A subtree as a row after a prefix of `known` tokens, with the tokens between that prefix and its top node."""
    tokens: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    leaves: list[tuple[int, tuple[int, ...]]] = []
    stack: list[tuple[int, tuple[int, ...]]] = [(top, ())]  # (node, columns of its ancestors)
    while stack:
        index, ancestors = stack.pop()
        node = nodes[index]
        start = node.start if index != top else known
        first, after = len(tokens), len(tokens) + node.end - start
        columns = ancestors + tuple(range(first, after))
        tokens.extend(paths[node.sample].tokens[start : node.end])
        positions.extend(range(start, node.end))
        ends.extend([after + node.below] * (node.end - start))  # descendants follow directly, depth first
        leaves.extend((path, columns) for path in node.paths)
        stack.extend((child, columns) for child in reversed(node.children))
    return Row(tuple(tokens), tuple(positions), tuple(ends), tuple(leaves))
