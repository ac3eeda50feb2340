"""Methods that add task vectors, the sources' differences from a base, to that base: thinned out and weighted.

b + λ · combine(wᵢ · thinᵢ(xᵢ - b)), combine a sum or TIES' election; where `normalize` is on it is divided by the
sum of the weights that took part, element by element in an election.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from merging.specs.method import SHARE, Customary, GeneRange, Method, Parameter, ValueFault, Values
from merging.specs.search import Grid, Meaning, Point, Rows, SearchForm, each_alone, settle_ratios, spread_rows

if TYPE_CHECKING:
    from torch import Tensor

    from merging.kernels.inputs import Inputs
    from merging.kernels.sparsify import Thinner

_NO_SUM = 1e-8

# Above 1 a task vector is amplified, which merges of weak specialists profit from.
_WEIGHT = Parameter(per_source=True, gene=GeneRange(0, 1.5))
# A density near 0 leaves next to nothing of a task vector, and rescaling by its inverse turns the rest into noise.
_DENSITY = Parameter(1.0, per_source=True, allowed=SHARE, gene=GeneRange(0.1, 1))
_GAMMA = Parameter(0.01, per_source=True, allowed=SHARE, gene=GeneRange(0, 1, unit=0.1))
_EPSILON = Parameter(0.15, per_source=True, allowed=SHARE, gene=GeneRange(0, 0.4))


def task_arithmetic(inputs: Inputs) -> Tensor:
    """b + λ Σ wᵢ (xᵢ - b) (Ilharco et al. 2023)."""
    from merging.kernels.sparsify import keep_all

    return _add_task_vectors(inputs, keep_all, elect=False)


def ties(inputs: Inputs) -> Tensor:
    """Differences trimmed to their largest, then only what agrees with the elected sign (Yadav et al. 2023).

    A share dᵢ of each difference is kept. The sign of an element is that of the weighted sum, positive where that
    is 0. mergekit leaves the order of equal magnitudes open; here the first are kept.
    """
    from merging.kernels.sparsify import keep_largest

    return _add_task_vectors(inputs, keep_largest, elect=True)


def dare_linear(inputs: Inputs) -> Tensor:
    """Task arithmetic on differences of which a random part dᵢ survives, scaled by 1/dᵢ (Yu et al. 2024)."""
    from merging.kernels.sparsify import drop_at_random

    return _add_task_vectors(inputs, drop_at_random, elect=False)


def dare_ties(inputs: Inputs) -> Tensor:
    """TIES' election on differences thinned out as DARE does."""
    from merging.kernels.sparsify import drop_at_random

    return _add_task_vectors(inputs, drop_at_random, elect=True)


def della(inputs: Inputs) -> Tensor:
    """TIES' election on differences thinned out at random, the larger an element the less likely (Deep et al. 2024)."""
    from merging.kernels.sparsify import drop_by_rank

    return _add_task_vectors(inputs, drop_by_rank, elect=True)


def della_linear(inputs: Inputs) -> Tensor:
    """Task arithmetic on differences thinned out as DELLA does."""
    from merging.kernels.sparsify import drop_by_rank

    return _add_task_vectors(inputs, drop_by_rank, elect=False)


def breadcrumbs(inputs: Inputs) -> Tensor:
    """Task arithmetic on differences without their smallest and their very largest (Davari & Belilovsky 2024)."""
    from merging.kernels.sparsify import keep_inliers

    return _add_task_vectors(inputs, keep_inliers, elect=False)


def breadcrumbs_ties(inputs: Inputs) -> Tensor:
    """TIES' election on differences thinned out as Breadcrumbs does."""
    from merging.kernels.sparsify import keep_inliers

    return _add_task_vectors(inputs, keep_inliers, elect=True)


def _add_task_vectors(inputs: Inputs, thinner: Thinner, *, elect: bool) -> Tensor:
    from merging.kernels.sparsify import segment_of
    from merging.kernels.sums import Combination, blend

    weights = {source: weight for source, weight in enumerate(inputs.values["weight"]) if weight}
    base = inputs.base_tensor()
    if not weights:
        return blend(inputs, {}, base)
    normalize = bool(inputs.shared("normalize"))
    divisor = _divisor(list(weights.values())) if normalize and not elect else 1.0
    rule = Combination(elect, elect and normalize, divisor, inputs.shared("lambda"))
    weights = {source: weight for source, weight in weights.items() if not inputs.equals_base(source)}
    if not weights:
        return blend(inputs, {}, base)
    thinnings = [thinner(inputs, source) for source in weights]
    return blend(inputs, weights, base, thinnings, rule, segment=segment_of(thinner, base.shape))


def _divisor(weights: list[float]) -> float:
    whole = math.fsum(weights)
    return 1.0 if abs(whole) < _NO_SUM else whole


@dataclass(frozen=True)
class ByTaskVector(SearchForm):
    """A weight and values of thinning for each source; no weight at all means the base.

    elects: whether conflicting signs are settled.
    """

    elects: bool

    def meaning(self, values: Mapping[str, Rows], grid: Grid) -> Meaning:
        """Sources without weight are left out; a single one with weight 1 and density 1 means that source.

        Where nothing is thinned out, all methods of this family that elect are ties, and all others task arithmetic;
        and that is the linear merge where the weights of each group add up to 1: the base, with weight 0, drops out.
        """
        used = tuple(source for source, row in enumerate(values["weight"]) if any(row))
        kept: dict[str, list[tuple[float, ...]]] = {name: [] for name in values}
        for source in used:
            columns = [
                _settle({name: rows[source][group] for name, rows in values.items()}, grid.genes["weight"].step)
                for group in range(len(values["weight"][source]))
            ]
            for name, rows in kept.items():
                rows.append(tuple(column[name] for column in columns))
        whole = (kept["weight"], kept.get("density", ()))
        if not used or (len(used) == 1 and all(value == 1 for rows in whole for row in rows for value in row)):
            return Meaning(used)
        if any(value != 1 for row in kept.get("density", ()) for value in row):
            return Meaning(used, {name: tuple(rows) for name, rows in kept.items()})
        weights = tuple(kept["weight"])
        if self.elects:
            return Meaning(used, {"weight": weights, "density": tuple(kept["density"])}, "ties")
        if _add_up_to_one(weights, grid):
            return Meaning(used, {"weight": settle_ratios(weights, grid)}, "linear")
        return Meaning(used, {"weight": weights}, "task_arithmetic")

    def restore(self, merge: Meaning, grid: Grid) -> Mapping[str, Rows] | None:
        """Sources that are not in the merge have no weight; what its method does not thin out has density 1.

        The weights of a linear merge, of which only the ratio counts, are made to add up to 1.
        """
        if merge.values is None:
            equal = True
        elif merge.method == "linear":
            equal = not self.elects
            merge = replace(merge, values={"weight": _shares(merge.values["weight"])})
        else:
            equal = merge.method in (None, "ties" if self.elects else "task_arithmetic")
        if not equal:
            return None
        unthinned = {name: (values[0], values[0]) for name, values in _unthinned(grid).items()}
        ends = {**unthinned, "weight": (1.0, 0.0)}
        return {name: spread_rows(merge, name, alone, absent, grid) for name, (alone, absent) in ends.items()}

    def extremes(self, grid: Grid) -> list[Point]:
        """Each source alone, then the base."""
        return [{**_unthinned(grid), "weight": row} for row in [*each_alone(grid.sources), [0.0] * grid.sources]]

    def plain(self, customary: Point, grid: Grid) -> list[Point]:
        """The mean of the task vectors as they are, then the customary values."""
        return [{**_unthinned(grid), "weight": [1 / grid.sources] * grid.sources}, customary]


def _add_up_to_one(weights: Rows, grid: Grid) -> bool:
    """Whether the weights of each group add up to exactly 1, counted in the grid's steps."""
    gene = grid.genes["weight"]
    return all(
        sum(gene.index(weight) or 0 for weight in column) == gene.index(1.0) for column in zip(*weights, strict=True)
    )


def _shares(weights: Rows) -> Rows:
    """The weights of each group, divided by their sum; as they are where that is 0."""
    sums = [math.fsum(column) or 1.0 for column in zip(*weights, strict=True)]
    return tuple(tuple(weight / whole for weight, whole in zip(row, sums, strict=True)) for row in weights)


def _unthinned(grid: Grid) -> Point:
    """Values with which task vectors are left as they are, of all parameters but the weight."""
    others = {name: gene.low for name, gene in grid.genes.items() if name != "weight"}
    return {name: [1.0 if name == "density" else low] * grid.sources for name, low in others.items()}


def _settle(values: dict[str, float], step: float) -> dict[str, float]:
    """One source's values in one group of tensors, with defaults for those that make no difference.

    Density is one of them where there is no weight, gamma and epsilon where all is kept. An epsilon that leaves no
    room between the density and 0 or 1 becomes the largest number of steps that does.
    """
    if "density" not in values:
        return values
    if values["weight"] == 0:
        values = {**values, "density": 1.0}
    density = values["density"]
    if density == 1:
        defaults = {"gamma": _GAMMA.default or 0.0, "epsilon": _EPSILON.default or 0.0}
        values = {name: defaults.get(name, value) for name, value in values.items()}
    elif "epsilon" in values:
        room = min(density, 1 - density)
        steps = max(0, -(-round(room / step, 6) // 1) - 1)
        values = {**values, "epsilon": min(values["epsilon"], round(steps * step, 9))}
    return values


def _check_epsilon(values: Values) -> ValueFault | None:
    """DELLA's probabilities, from density - epsilon to density + epsilon, must be between 0 and 1."""
    for density, epsilon in zip(values["density"], values["epsilon"], strict=True):
        room = min(density, 1 - density)
        if 0 < density < 1 and not epsilon < room:
            return ValueFault("epsilon", epsilon, f"with density {density:g} it must be below {room:g}")
    return None


@dataclass(frozen=True)
class _Family:
    """A way to thin task vectors, with its customary values.

    parameters: those of the thinning. rescale: whether mergekit rescales what is left by default.
    """

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    customary: Mapping[str, float] = field(default_factory=dict)
    rescale: bool = False
    draws: bool = False


# Customary values: task vectors added whole (Ilharco et al. 2022), TIES with the top fifth of each (Yadav et al. 2023),
# DARE with half dropped (Yu et al. 2023), DELLA likewise, Breadcrumbs with 85 % masked (Davari & Belilovsky 2024).
_WHOLE = _Family()
_TRIMMED = _Family({"density": _DENSITY}, {"density": 0.2})
_DROPPED = _Family({"density": _DENSITY}, {"density": 0.5}, rescale=True, draws=True)
_RANKED = _Family(
    {"density": _DENSITY, "epsilon": _EPSILON}, {"density": 0.5, "epsilon": 0.15}, rescale=True, draws=True
)
_INLIERS = _Family({"density": _DENSITY, "gamma": _GAMMA}, {"density": 0.15, "gamma": 0.01})


def _method(
    formula: Callable[[Inputs], Tensor],
    family: _Family,
    sentence: str,
    *,
    elects: bool = False,
    normalize: bool = False,
) -> Method:
    """One method of mergekit's generalised task arithmetic; the search leaves the scale to the weights."""
    thinned, density = bool(family.parameters), family.customary.get("density")
    rescale = {"rescale": Parameter(float(family.rescale), "switch")} if thinned else {}
    return Method(
        name=formula.__name__,
        sentence=sentence,
        formula=formula,
        parameters={
            "weight": _WEIGHT,
            **family.parameters,
            "normalize": Parameter(float(normalize), "switch", searched_as=0.0),
            "lambda": Parameter(1.0),
            **rescale,
        },
        base="required",
        search=ByTaskVector(elects),
        customary=Customary(
            f"{formula.__name__}, weight 1" + (f", density {density:g}" if density else ""),
            {"weight": 1.0, **family.customary},
        ),
        ignored=("int8_mask",) if thinned else ("int8_mask", "density", "rescale"),
        skips_unweighted=True,
        draws=family.draws,
        check=_check_epsilon if "epsilon" in family.parameters else None,
    )


METHODS = (
    _method(task_arithmetic, _WHOLE, "the base plus a weighted sum of what each source changed in it"),
    _method(
        ties,
        _TRIMMED,
        "the base plus what the sources changed in it, after each change is trimmed to its largest values (density) "
        "and conflicting signs are settled by majority (TIES)",
        elects=True,
        normalize=True,
    ),
    _method(
        dare_linear,
        _DROPPED,
        "the base plus a weighted sum of what each source changed in it, of which a random share (density) is kept "
        "and rescaled (DARE)",
    ),
    _method(
        dare_ties,
        _DROPPED,
        "the base plus what the sources changed in it, of which a random share (density) is kept and rescaled and "
        "conflicting signs are settled by majority (DARE with TIES)",
        elects=True,
    ),
    _method(
        della,
        _RANKED,
        "the base plus what the sources changed in it, of which a random share (density) is kept, large values more "
        "often (epsilon), and conflicting signs are settled by majority (DELLA)",
        elects=True,
        normalize=True,
    ),
    _method(
        della_linear,
        _RANKED,
        "the base plus a weighted sum of what each source changed in it, of which a random share (density) is kept, "
        "large values more often (epsilon; DELLA)",
    ),
    _method(
        breadcrumbs,
        _INLIERS,
        "the base plus a weighted sum of what each source changed in it, without the smallest values (density) and "
        "the very largest (gamma; Model Breadcrumbs)",
    ),
    _method(
        breadcrumbs_ties,
        _INLIERS,
        "the base plus what the sources changed in it, without the smallest values (density) and the very largest "
        "(gamma), conflicting signs settled by majority (Model Breadcrumbs with TIES)",
        elects=True,
    ),
)
