"""Makes the search strategy of a watchlist: the one place that reads `search.space`."""

from __future__ import annotations

from bot.hub.inspection.mismatch import find_component_mismatch
from bot.hub.pool.pool import Pool
from bot.search.strategies.paths import PathSearch
from bot.search.strategies.staged import StagedSearch
from bot.search.strategies.strategy import PathLayout, SearchedDrawing, SearchStrategy
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.load import UnfitValueError
from bot.watchlist.sections import SearchSection
from bot.watchlist.watchlist import Watchlist
from merging.errors import MergingError
from merging.kinds import KINDS
from merging.methods import METHODS
from merging.partition import Partition
from merging.paths.layout import check_rearrangeable
from merging.spaces.appended import AppendedSpace, DrawingSize, DrawingSteps, LastStageScale
from merging.spaces.components import merge_space
from merging.spaces.space import MergeSpace

PLAIN_METHOD = "linear"
"""The method of the baselines of paths: paths alone need none, and the plain merges they must beat are averages."""


def make_strategy(watchlist: Watchlist, pool: Pool) -> SearchStrategy:
    """The strategy that a watchlist asks for over a pool.

    Raises ShoalError or MergingError if the pool does not fit it.
    """
    search = watchlist.search
    match search.space:
        case "parameter":
            drawing = SearchedDrawing(search.steps or (), search.picture_sizes or ())
            return WeightMergeSearch(_weight_merges(watchlist, pool, search.method), drawing)
        case "dataflow":
            return PathSearch(*_paths(watchlist, pool, PLAIN_METHOD))
        case "both":
            return StagedSearch(*_paths(watchlist, pool, search.method))


def _paths(watchlist: Watchlist, pool: Pool, method: str) -> tuple[MergeSpace, PathLayout]:
    search, first = watchlist.search, pool.prototype
    weight_merges = _weight_merges(watchlist, pool, method)
    inside, _ = first.divide(first.headers)
    shapes = {name: header.shape for name, header in inside.items()}
    check_rearrangeable(first.language, shapes, pool.layers, first.repo)
    layout = PathLayout(search.paths, bool(first.language.get("tie_word_embeddings")), search.step)
    try:
        layout.source_space(weight_merges)
    except MergingError as error:
        raise UnfitValueError(("search", "dataflow"), "", str(error)) from error
    return weight_merges, layout


def _weight_merges(watchlist: Watchlist, pool: Pool, method: str) -> MergeSpace:
    search = watchlist.search
    merges = merge_space(
        method=method,
        sources=[source.ref for source in pool.sources],
        base=pool.base.ref if pool.base else None,
        groups=_partition(search, pool),
        dtype=search.dtype,
        seed=search.seed,
        step=search.step,
        vocabulary=pool.deciding,
        carrier=pool.carrier,
        unlike=[name for name in list(pool.prototype.components)[1:] if not _is_alike(pool, name)],
    )
    if search.last_stage is not None and pool.staged is not None:
        scales = LastStageScale.between(pool.staged.ref, *search.last_stage.scale, search.step)
        merges = AppendedSpace(merges, scales)
    if search.steps is not None:
        merges = AppendedSpace(merges, DrawingSteps.between(*search.steps))
    return AppendedSpace(merges, DrawingSize.among(search.picture_sizes)) if search.picture_sizes else merges


def _partition(search: SearchSection, pool: Pool) -> Partition:
    """The groups of a merge's tensors, and what becomes of the components besides the one that is searched first."""
    whole = pool.prototype
    groups = KINDS[pool.kind].partition(
        whole.headers,
        bands=search.groups.layers,
        modules_apart=search.groups.modules == "apart",
        ends_apart=search.groups.ends == "apart",
        components=whole.components,
    )
    if not whole.components:
        return groups
    _check_components(search, pool)
    uses = {name: search.components.get(name, "keep") for name in list(whole.components)[1:]}
    for member in pool.members:
        if member.is_part_of(pool.kind):
            groups = groups.lacking([member.ref], having=member.components)
    kept = {name: pool.carrier for name, use in uses.items() if use == "keep"}
    return groups.taking(kept | dict.fromkeys(name for name, use in uses.items() if use == "choose"))


def _is_alike(pool: Pool, component: str) -> bool:
    """Whether the component can be merged of all of the pool's models that are whole."""
    whole = [member for member in pool.members if not member.is_part_of(pool.kind)]
    having = [member for member in whole if component in member.components]
    return having == whole and not any(find_component_mismatch(pool.prototype, one, component) for one in having)


def _check_components(search: SearchSection, pool: Pool) -> None:
    """Raise UnfitValueError for a component that the models do not have, or that cannot be merged."""
    others = list(pool.prototype.components)[1:]
    for name, use in search.components.items():
        path = ("search", "components", name)
        if name not in others:
            raise UnfitValueError(path, use, f"the models have no such component; write {' or '.join(others)}")
        having = [source for source in pool.sources if name in source.components]
        if use != "keep" and len(having) < 2:
            raise UnfitValueError(path, use, f"only {len(having)} of the sources has one; write keep")
        if use == "merge" and METHODS[search.method].needs_base and pool.base and pool.base.is_part_of(pool.kind):
            why = f"the base {pool.base.repo} has none, and {search.method} needs it; write keep, or name another base"
            raise UnfitValueError(path, use, why)
