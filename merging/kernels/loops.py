"""The loops that merging spends its time in, compiled: each goes over its tensors once, block by block.

A block's values stay in the processor's first cache while a method computes with them, so that a merge costs little
more than reading its sources and writing its result. Rounding is plain IEEE float32: nothing is
reordered, and a product and a sum are never contracted into one operation, so that the bits are the same on every
processor and in any number of threads. Loops release Python's lock while they run.

Tensors are given by address, because sources may have different dtypes: the caller keeps them alive. They are flat
and contiguous. A loop is compiled when it is first called, and kept on the disk for the next process until this file
changes, so all that a loop calls is in this file, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

from merging.kernels.arguments import BF16, F16, F32, F64, Array, Pointers, Rule, Terms, Trims, compiled, pointer

BLOCK = 1 << 11  # elements: some float32 blocks of this length stay in the first caches
_APART = 80  # elements between blocks, because addresses a power of two apart share few places of a cache
_LANES = 16  # sums that are added up side by side
_BASE, _NONE, _ROW, _SPARE, _TOTAL, _POSITIVE, _NEGATIVE, _WEIGHT_POSITIVE, _WEIGHT_NEGATIVE, _BLOCKS = range(10)
"""Blocks: the base; zeros, which are subtracted from what is a difference already; a source's differences; what is read
before it is used; and sums. Those of the positive and of the negative terms (the latter as magnitudes) are doubled, for
|v| + v is exact, and cheaper than a choice."""


@compiled
def merge(sources: Pointers, base: Pointers, terms: Terms, rule: Rule, target: Pointers, start: int, stop: int) -> bool:
    """Merge the elements from start to stop into the target, which begins there; returns whether all are finite.

    base: one tensor, or none: then differences are the sources' own values. The target is of a dtype up to float16.
    """
    blocks = np.zeros((_BLOCKS, BLOCK + _APART), np.float32)
    limits = np.zeros(len(sources.addresses), np.float32)
    simple, kind = _is_simple(terms, rule), _common_kind(sources)
    finite = True
    for first in range(start, stop, BLOCK):
        count = min(BLOCK, stop - first)
        here, total = blocks[_BASE][:count], blocks[_TOTAL][:count]
        if len(base.addresses):
            here = _read(base.addresses[0], base.kinds[0], first, here)
        _fill(total, -0.0)  # the neutral start of a sum, for zeros of both signs too
        for number in range(_POSITIVE, _BLOCKS if rule.by_weight else _NEGATIVE + 1 if rule.elect else _POSITIVE):
            _fill(blocks[number][:count], 0)
        in_pairs = simple and (not rule.elect or _limits(terms.lower, first, count, limits))
        if not in_pairs:
            _add_up(sources, here, terms, rule, first, start, blocks)
        elif kind == BF16:
            _add_in_pairs(np.uint16, sources, here, limits, terms, rule, first, blocks)
        elif kind == F16:
            _add_in_pairs(np.int16, sources, here, limits, terms, rule, first, blocks)
        else:
            _add_in_pairs(np.float32, sources, here, limits, terms, rule, first, blocks)
        if in_pairs and rule.by_weight:
            if kind == BF16:
                _weigh_in_pairs(np.uint16, sources, here, limits, terms, first, blocks)
            else:
                _weigh_in_pairs(np.float32, sources, here, limits, terms, first, blocks)
        if rule.elect:
            _elect(blocks, count, rule.by_weight)
        _settle(total, rule)
        if len(base.addresses):
            finite &= _store_sum(total, here, target.addresses[0], target.kinds[0], first - start)
        else:
            finite &= _store(total, target.addresses[0], target.kinds[0], first - start)
    return finite


@compiled
def magnitudes(source: Pointers, base: Pointers, start: int, stop: int, out: Array) -> None:
    """|x - b| of the elements from start to stop, in float32; base: one, or none. out: float32 (stop - start)."""
    spare = np.zeros((2, BLOCK), np.float32)
    for first in range(start, stop, BLOCK):
        count = min(BLOCK, stop - first)
        here = spare[0][:count]
        if len(base.addresses):
            here = _read(base.addresses[0], base.kinds[0], first, here)
        part = out[first - start : first - start + count]
        _subtract(source.addresses[0], source.kinds[0], first, here, spare[1][:count], part)
        for place in range(count):
            part[place] = abs(part[place])


@compiled
def trim(values: Array, value: float, last: int, start: int) -> None:
    """Set to zero what is smaller than a threshold, in float32 values whose first has the index `start`.

    Those that equal it are kept up to the index `last`.
    """
    limit = np.float32(value)
    kept = min(max(last + 1 - start, 0), len(values))
    before, after = values[:kept], values[kept:]
    if limit > 0:
        for place in range(len(before)):
            before[place] = before[place] * np.float32(abs(before[place]) >= limit) + np.float32(0)
    for place in range(len(after)):
        after[place] = after[place] * np.float32(abs(after[place]) > limit) + np.float32(0)


@compiled
def survivors(draws: Array, level: int, scale: float, out: Array) -> None:
    """The factors of random thinning: `scale` where the draw (uint16) is below the level, else zero. out: float32."""
    for place in range(len(out)):
        out[place] = np.float32(draws[place] < level) * np.float32(scale)


@compiled
def tally(sizes: Array, low: float, high: float, between: Array) -> tuple[int, int, int, int]:
    """Count the sizes (float32) above `high`, from `high` on, from `low` on, and between the two.

    The latter are written to `between`, as long as the sizes.
    """
    least, most = np.float32(low), np.float32(high)
    above = from_high = from_low = np.int32(0)
    for place in range(len(sizes)):
        above = np.int32(above + np.int32(sizes[place] > most))
        from_high = np.int32(from_high + np.int32(sizes[place] >= most))
        from_low = np.int32(from_low + np.int32(sizes[place] >= least))
    found = 0
    for place in range(len(sizes)):
        size = sizes[place]
        between[found] = size
        found += (size > least) & (size < most)
    return int(above), int(from_high), int(from_low), found


@compiled
def products(sources: Pointers, base: Pointers, start: int, stop: int, out: Array) -> None:
    """Add xᵢ · xⱼ over the elements from start to stop to out[i, j], j ≥ i, in float64; of xᵢ - b if there is a base.

    out: float64 (sources, sources).
    """
    rows = np.zeros((len(sources.addresses), BLOCK), np.float64)
    spare = np.zeros((2, BLOCK), np.float32)
    for first in range(start, stop, BLOCK):
        count = min(BLOCK, stop - first)
        here = spare[0][:count]
        if len(base.addresses):
            here = _read(base.addresses[0], base.kinds[0], first, here)
        for number in range(len(rows)):
            row = rows[number]
            values = _read(sources.addresses[number], sources.kinds[number], first, spare[1][:count])
            for place in range(count):
                row[place] = np.float64(values[place]) - np.float64(here[place])
            for place in range(count, BLOCK):
                row[place] = 0
        for one in range(len(rows)):
            for other in range(one, len(rows)):
                out[one, other] += _dot(rows[one], rows[other])


@compiled
def low_rank(up: Array, down: Array, scaling: float, out: Array) -> None:
    """s · Σₖ up[i, k] · down[k, j], added up in the order of k.

    up, down, out: float32 of (rows, rank), (rank, columns) and (rows, columns).
    """
    rows, columns = out.shape
    rank, factor = len(down), np.float32(scaling)
    for first in range(0, columns, BLOCK):
        last = min(first + BLOCK, columns)
        for row in range(rows):
            sums = out[row, first:last]
            _fill(sums, 0)
            fours = rank - rank % 4
            for k in range(0, fours, 4):
                a, b, c, d = up[row, k], up[row, k + 1], up[row, k + 2], up[row, k + 3]
                one, two, three, four = (
                    down[k, first:last],
                    down[k + 1, first:last],
                    down[k + 2, first:last],
                    down[k + 3, first:last],
                )
                for place in range(len(sums)):
                    sums[place] = sums[place] + a * one[place] + b * two[place] + c * three[place] + d * four[place]
            for k in range(fours, rank):
                a, one = up[row, k], down[k, first:last]
                for place in range(len(sums)):
                    sums[place] += a * one[place]
            if factor != 1:
                for place in range(len(sums)):
                    sums[place] *= factor


@compiled
def squares(values: Array, of_rows: bool, out: Array) -> None:
    """Add the squares of each row, or of each column, to out, in float64. values: float32 (rows, columns)."""
    for row in range(len(values)):
        line = values[row]
        if of_rows:
            for place in range(len(line)):
                out[row] += np.float64(line[place]) * np.float64(line[place])
        else:
            for place in range(len(line)):
                out[place] += np.float64(line[place]) * np.float64(line[place])


@compiled
def _dot(one: Array, other: Array) -> float:
    """The scalar product of two float64 blocks, in an order of summation that is always the same."""
    sums = np.zeros(_LANES)
    for first in range(0, BLOCK, _LANES):
        for lane in range(_LANES):
            sums[lane] += one[first + lane] * other[first + lane]
    found = 0.0
    for lane in range(_LANES):
        found += sums[lane]
    return found


@compiled
def _common_kind(sources: Pointers) -> int:
    """The dtype's number of all sources; -1 where they have several."""
    for kind in sources.kinds:
        if kind != sources.kinds[0]:
            return -1
    return int(sources.kinds[0]) if len(sources.kinds) else -1


@compiled
def _is_simple(terms: Terms, rule: Rule) -> bool:
    """Whether the sources' differences are weighed and no more, or trimmed before they vote."""
    for scale in terms.scales:
        if scale != 1:
            return False
    for value in terms.upper.values:
        if value < np.inf:
            return False
    return len(terms.factors) == 0 and (rule.elect or len(terms.lower.values) == 0)


@compiled
def _limits(trims: Trims, first: int, count: int, out: Array) -> bool:
    """Write each source's limit, from which a block's differences are kept; False if one changes within the block.

    out: float32, a limit per source; zero keeps all.
    """
    for number in range(len(trims.values)):
        out[number] = trims.values[number]
        last = trims.lasts[number]
        if last < first:
            out[number] = np.nextafter(out[number], np.float32(np.inf))
        elif last < first + count - 1:
            return False
    return True


@compiled
def _add_in_pairs(
    form: Any, sources: Pointers, base: Array, limits: Array, terms: Terms, rule: Rule, first: int, blocks: Array
) -> None:
    """Add a block's terms to the sums, two sources at a time: half as many passes over the sums.

    form: the dtype of the blocks, for each of which loops are compiled: uint16 for the bits of bfloat16, and int16 for
    those of float16, which become float32 where they are used; float32 for sources of any dtypes, read before that.
    """
    if rule.elect:
        _vote_in_pairs(form, sources, base, limits, terms, first, blocks)
    else:
        _sum_in_pairs(form, sources, base, terms, first, blocks)


@compiled
def _sum_in_pairs(form: Any, sources: Pointers, base: Array, terms: Terms, first: int, blocks: Array) -> None:
    """Add up a block's weighted differences."""
    weights, are_differences = terms.weights, terms.are_differences
    count, even = len(base), len(weights) - len(weights) % 2
    nothing, total = blocks[_NONE][:count], blocks[_TOTAL][:count]
    for one in range(0, even, 2):
        found = _block(form, sources.addresses[one], sources.kinds[one], first, blocks[_ROW][:count])
        more_found = _block(form, sources.addresses[one + 1], sources.kinds[one + 1], first, blocks[_SPARE][:count])
        weight, more_weight = weights[one], weights[one + 1]
        start = nothing if are_differences[one] else base
        more_start = nothing if are_differences[one + 1] else base
        for place in range(count):
            value = (_single(found[place]) - start[place]) * weight
            total[place] = total[place] + value + (_single(more_found[place]) - more_start[place]) * more_weight
    if even < len(weights):
        found = _block(form, sources.addresses[even], sources.kinds[even], first, blocks[_ROW][:count])
        weight = weights[even]
        start = nothing if are_differences[even] else base
        for place in range(count):
            total[place] += (_single(found[place]) - start[place]) * weight


@compiled
def _vote_in_pairs(
    form: Any, sources: Pointers, base: Array, limits: Array, terms: Terms, first: int, blocks: Array
) -> None:
    """As `_sum_in_pairs`, of the differences that reach their source's limit, each to the sum of its side."""
    weights, are_differences = terms.weights, terms.are_differences
    count, even = len(base), len(weights) - len(weights) % 2
    nothing = blocks[_NONE][:count]
    positive, negative = blocks[_POSITIVE][:count], blocks[_NEGATIVE][:count]
    for one in range(0, even, 2):
        found = _block(form, sources.addresses[one], sources.kinds[one], first, blocks[_ROW][:count])
        more_found = _block(form, sources.addresses[one + 1], sources.kinds[one + 1], first, blocks[_SPARE][:count])
        limit, more_limit, weight, more_weight = limits[one], limits[one + 1], weights[one], weights[one + 1]
        start = nothing if are_differences[one] else base
        more_start = nothing if are_differences[one + 1] else base
        for place in range(count):
            value = _above(_single(found[place]) - start[place], limit) * weight
            more = _above(_single(more_found[place]) - more_start[place], more_limit) * more_weight
            positive[place] = positive[place] + (abs(value) + value) + (abs(more) + more)
            negative[place] = negative[place] + (abs(value) - value) + (abs(more) - more)
    if even < len(weights):
        found = _block(form, sources.addresses[even], sources.kinds[even], first, blocks[_ROW][:count])
        limit, weight = limits[even], weights[even]
        start = nothing if are_differences[even] else base
        for place in range(count):
            value = _above(_single(found[place]) - start[place], limit) * weight
            positive[place] += abs(value) + value
            negative[place] += abs(value) - value


@compiled
def _weigh_in_pairs(
    form: Any, sources: Pointers, base: Array, limits: Array, terms: Terms, first: int, blocks: Array
) -> None:
    """As `_vote_in_pairs`, of the weights of the votes."""
    weights, are_differences = terms.weights, terms.are_differences
    count, even = len(base), len(weights) - len(weights) % 2
    nothing = blocks[_NONE][:count]
    positive, negative = blocks[_WEIGHT_POSITIVE][:count], blocks[_WEIGHT_NEGATIVE][:count]
    none = np.float32(0)
    for one in range(0, even, 2):
        found = _block(form, sources.addresses[one], sources.kinds[one], first, blocks[_ROW][:count])
        more_found = _block(form, sources.addresses[one + 1], sources.kinds[one + 1], first, blocks[_SPARE][:count])
        limit, more_limit, weight, more_weight = limits[one], limits[one + 1], weights[one], weights[one + 1]
        start = nothing if are_differences[one] else base
        more_start = nothing if are_differences[one + 1] else base
        for place in range(count):
            value = _above(_single(found[place]) - start[place], limit) * weight
            more = _above(_single(more_found[place]) - more_start[place], more_limit) * more_weight
            behind, more_behind = (weight if value > 0 else none), (more_weight if more > 0 else none)
            against, more_against = (weight if value < 0 else none), (more_weight if more < 0 else none)
            positive[place] = positive[place] + behind + more_behind
            negative[place] = negative[place] + against + more_against
    if even < len(weights):
        found = _block(form, sources.addresses[even], sources.kinds[even], first, blocks[_ROW][:count])
        limit, weight = limits[even], weights[even]
        start = nothing if are_differences[even] else base
        for place in range(count):
            value = _above(_single(found[place]) - start[place], limit) * weight
            positive[place] += weight if value > 0 else none
            negative[place] += weight if value < 0 else none


def _block(form: Any, address: int, kind: int, first: int, spare: Array) -> Array:
    """A tensor's elements from `first` on in a form, as `_add_in_pairs` has it, as many as there are spare ones.

    spare: float32. Compiled code has what `_choose_block` returns in its place.
    """
    raise NotImplementedError


@overload(_block, strict=False)  # type: ignore[untyped-decorator]
def _choose_block(form: Any, address: Any, kind: Any, first: Any, spare: Any) -> Callable[..., Array]:  # noqa: ARG001
    def read(form: Any, address: int, kind: int, first: int, spare: Array) -> Array:  # noqa: ARG001
        return _read(address, kind, first, spare)

    def look(form: Any, address: int, kind: int, first: int, spare: Array) -> Array:  # noqa: ARG001
        bits: Array = numba.carray(pointer(address), (first + len(spare),), form)[first:]
        return bits

    return read if form.instance_type == types.float32 else look


def _single(value: Any) -> np.float32:
    """An element of such a block in float32. Compiled code has what `_choose_single` returns in its place."""
    raise NotImplementedError


@overload(_single, strict=False)  # type: ignore[untyped-decorator]
def _choose_single(value: Any) -> Callable[[Any], np.float32]:
    if value == types.uint16:
        return lambda value: _brain(value)
    if value == types.int16:
        return lambda value: _half(np.uint16(value))
    return lambda value: value


@compiled
def _above(difference: np.float32, limit: np.float32) -> np.float32:
    """The difference, or zero if it is below the limit; NaN is kept."""
    return np.float32(0) if abs(difference) < limit else difference


@compiled
def _add_up(sources: Pointers, base: Array, terms: Terms, rule: Rule, first: int, begin: int, blocks: Array) -> None:
    """Add a block's terms, whatever they are, to the sums."""
    count = len(base)
    row, spare = blocks[_ROW][:count], blocks[_SPARE][:count]
    total, positive, negative = blocks[_TOTAL][:count], blocks[_POSITIVE][:count], blocks[_NEGATIVE][:count]
    weight_positive, weight_negative = blocks[_WEIGHT_POSITIVE][:count], blocks[_WEIGHT_NEGATIVE][:count]
    for number in range(len(sources.addresses)):
        start = blocks[_NONE][:count] if terms.are_differences[number] else base
        _subtract(sources.addresses[number], sources.kinds[number], first, start, spare, row)
        _thin(row, terms, number, first, first - begin)
        _scale(row, terms.scales[number])
        _scale(row, terms.weights[number])
        if rule.elect:
            _vote(row, positive, negative)
        else:
            for place in range(count):
                total[place] += row[place]
        if rule.by_weight:
            _vote_by_weight(row, terms.weights[number], weight_positive, weight_negative)


@compiled
def _subtract(address: int, kind: int, first: int, base: Array, spare: Array, out: Array) -> None:
    """x - b."""
    if kind == BF16:
        bits = numba.carray(pointer(address), (first + len(out),), np.uint16)[first:]
        for place in range(len(out)):
            out[place] = _brain(bits[place]) - base[place]
    else:
        values = _read(address, kind, first, spare)
        for place in range(len(out)):
            out[place] = values[place] - base[place]


@compiled
def _thin(out: Array, terms: Terms, number: int, first: int, offset: int) -> None:
    """Do to a block of source `number`'s differences what the terms say; the block begins at the index `first`.

    offset: of the block in the segment, which `terms.factors` are for.
    """
    if len(terms.lower.values):
        _trim_both(out, terms.lower, terms.upper, number, first)
    if len(terms.factors):
        factors = terms.factors[number][offset:]
        for place in range(len(out)):
            out[place] *= factors[place]


@compiled
def _trim_both(values: Array, lower: Trims, upper: Trims, number: int, first: int) -> None:
    """Set to zero what is below the one threshold, and what reaches the other."""
    if upper.values[number] < np.inf:
        outliers = np.empty_like(values)
        for place in range(len(values)):
            outliers[place] = values[place]
        trim(outliers, upper.values[number], upper.lasts[number], first)
        trim(values, lower.values[number], lower.lasts[number], first)
        for place in range(len(values)):
            values[place] -= outliers[place]
    else:
        trim(values, lower.values[number], lower.lasts[number], first)


@compiled
def _scale(row: Array, factor: float) -> None:
    if factor != 1:
        for place in range(len(row)):
            row[place] *= factor


@compiled
def _vote(row: Array, positive: Array, negative: Array) -> None:
    """Add twice the terms to the sum of their side."""
    for place in range(len(row)):
        value = row[place]
        positive[place] += abs(value) + value
        negative[place] += abs(value) - value


@compiled
def _vote_by_weight(row: Array, weight: float, weight_positive: Array, weight_negative: Array) -> None:
    """Add the weight on the side that each weighted difference takes."""
    for place in range(len(row)):
        weight_positive[place] += weight * np.float32(row[place] > 0)
        weight_negative[place] += weight * np.float32(row[place] < 0)


@compiled
def _elect(blocks: Array, count: int, by_weight: bool) -> None:
    """Replace the sum of all terms by that of the terms with its sign; a sum of zero counts as positive.

    by_weight: divided by the sum of the weights that took part.
    """
    total, positive, negative = blocks[_TOTAL][:count], blocks[_POSITIVE][:count], blocks[_NEGATIVE][:count]
    for place in range(count):
        more, less = positive[place], negative[place]
        total[place] = (more if more >= less else -less) * np.float32(0.5)
    if by_weight:
        weight_positive, weight_negative = blocks[_WEIGHT_POSITIVE][:count], blocks[_WEIGHT_NEGATIVE][:count]
        for place in range(count):
            more, less = weight_positive[place], weight_negative[place]
            divisor = more if positive[place] >= negative[place] else less
            total[place] /= divisor + np.float32(divisor == 0)


@compiled
def _fill(values: Array, value: float) -> None:
    for place in range(len(values)):
        values[place] = value


@compiled
def _settle(values: Array, rule: Rule) -> None:
    """Divide and scale the sums."""
    if rule.divisor != 1:
        for place in range(len(values)):
            values[place] /= rule.divisor
    if rule.scale != 1:
        for place in range(len(values)):
            values[place] *= rule.scale


@compiled
def _read(address: int, kind: int, first: int, spare: Array) -> Array:
    """A tensor's elements from `first` on in float32, as many as there are spare ones: in place, or in these."""
    count = len(spare)
    if kind == F32:
        singles: Array = numba.carray(pointer(address), (first + count,), np.float32)[first:]
        return singles
    if kind == F64:
        doubles = numba.carray(pointer(address), (first + count,), np.float64)[first:]
        for place in range(count):
            spare[place] = doubles[place]
        return spare
    bits = numba.carray(pointer(address), (first + count,), np.uint16)[first:]
    if kind == BF16:
        for place in range(count):
            spare[place] = _brain(bits[place])
    else:
        for place in range(count):
            spare[place] = _half(bits[place])
    return spare


@compiled
def _store_sum(values: Array, base: Array, address: int, kind: int, first: int) -> bool:
    """As `_store`, of values + base."""
    if kind != BF16:
        for place in range(len(values)):
            values[place] += base[place]
        return _store(values, address, kind, first)
    count, highest = len(values), np.uint32(0)
    target = numba.carray(pointer(address), (first + count,), np.uint16)[first:]
    for place in range(count):
        bits = np.float32(values[place] + base[place]).view(np.uint32)
        target[place] = np.uint16(np.uint32(bits + _half_of_last(bits, 16)) >> np.uint32(16))
        highest = max(highest, np.uint32(bits & np.uint32(0x7FFFFFFF)))
    return bool(highest < np.uint32(0x7F7F8000))


@compiled
def _store(values: Array, address: int, kind: int, first: int) -> bool:
    """Round float32 values to the nearest of the target's dtype, of two to the even one; whether all are finite."""
    count, bits = len(values), values.view(np.uint32)
    highest = np.uint32(0)
    if kind == BF16:
        target = numba.carray(pointer(address), (first + count,), np.uint16)[first:]
        for place in range(count):
            target[place] = np.uint16(np.uint32(bits[place] + _half_of_last(bits[place], 16)) >> np.uint32(16))
            highest = max(highest, np.uint32(bits[place] & np.uint32(0x7FFFFFFF)))
        return bool(highest < np.uint32(0x7F7F8000))  # from here on it is rounded to infinity
    if kind == F16:
        target = numba.carray(pointer(address), (first + count,), np.uint16)[first:]
        for place in range(count):
            target[place] = _to_half(values[place])
            highest = max(highest, np.uint32(bits[place] & np.uint32(0x7FFFFFFF)))
        return bool(highest < np.uint32(0x477FF000))
    singles = numba.carray(pointer(address), (first + count,), np.float32)[first:]
    for place in range(count):
        singles[place] = values[place]
        highest = max(highest, np.uint32(bits[place] & np.uint32(0x7FFFFFFF)))
    return bool(highest < np.uint32(0x7F800000))


@compiled
def _half_of_last(bits: np.uint32, dropped: int) -> np.uint32:
    """The number to add before the last `dropped` bits are cut off, to round to the nearest, of two to the even one."""
    odd = np.uint32(np.uint32(bits >> np.uint32(dropped)) & np.uint32(1))
    return np.uint32(np.uint32((1 << (dropped - 1)) - 1) + odd)


@compiled
def _brain(bits: np.uint16) -> np.float32:
    """A bfloat16's bits as float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@compiled
def _half(bits: np.uint16) -> np.float32:
    """A float16's bits as float32."""
    magnitude = np.uint32(np.uint32(bits & np.uint16(0x7FFF)) << np.uint32(13))
    sign = np.uint32(np.uint32(bits & np.uint16(0x8000)) << np.uint32(16))
    # The exponents of the two formats lie 112 apart.
    scaled = np.float32(magnitude.view(np.float32) * np.float32(2.0**112)).view(np.uint32)
    whole = np.uint32(magnitude | np.uint32(0x7F800000)) if magnitude >= np.uint32(0x0F800000) else scaled
    return np.uint32(whole | sign).view(np.float32)


@compiled
def _to_half(value: np.float32) -> np.uint16:
    """A float32 that float16 can hold, as float16's bits."""
    bits = np.float32(value).view(np.uint32)
    magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
    sign = np.uint16(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000))
    shifted = np.uint32(magnitude - np.uint32(112 << 23))
    normal = np.uint32(np.uint32(shifted + _half_of_last(magnitude, 13)) >> np.uint32(13))
    # Below the smallest normal float16 its steps are those of float32 around a half.
    shrunk = np.float32(magnitude.view(np.float32) + np.float32(0.5)).view(np.uint32)
    small = np.uint32(shrunk - np.uint32(0x3F000000))
    return np.uint16(sign | np.uint16(normal if magnitude >= np.uint32(0x38800000) else small))
