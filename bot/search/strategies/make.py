"""Makes the search strategy of a watchlist: the one place that reads `search.space`."""

from __future__ import annotations

from bot.hub.pool.pool import Pool
from bot.search.strategies.paths import PathSearch
from bot.search.strategies.staged import StagedSearch
from bot.search.strategies.strategy import PathLayout, SearchStrategy
from bot.search.strategies.weight_merges import WeightMergeSearch
from bot.watchlist.load import UnfitValueError
from bot.watchlist.watchlist import Watchlist
from merging.errors import MergingError
from merging.kinds import KINDS
from merging.paths.layout import check_rearrangeable
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
            return WeightMergeSearch(_weight_merges(watchlist, pool, search.method))
        case "dataflow":
            return PathSearch(*_paths(watchlist, pool, PLAIN_METHOD))
        case "both":
            return StagedSearch(*_paths(watchlist, pool, search.method))


def _paths(watchlist: Watchlist, pool: Pool, method: str) -> tuple[MergeSpace, PathLayout]:
    search, first = watchlist.search, pool.sources[0]
    weight_merges = _weight_merges(watchlist, pool, method)
    shapes = {name: header.shape for name, header in first.headers.items()}
    check_rearrangeable(first.settings, shapes, pool.layers, first.repo)
    layout = PathLayout(search.paths, bool(first.settings.get("tie_word_embeddings")), search.step)
    try:
        layout.source_space(weight_merges)
    except MergingError as error:
        raise UnfitValueError(("search", "dataflow"), "", str(error)) from error
    return weight_merges, layout


def _weight_merges(watchlist: Watchlist, pool: Pool, method: str) -> MergeSpace:
    search, first = watchlist.search, pool.sources[0]
    return merge_space(
        method=method,
        sources=[source.ref for source in pool.sources],
        base=pool.base.ref if pool.base else None,
        groups=KINDS[watchlist.kind].partition(
            first.headers,
            bands=search.groups.layers,
            modules_apart=search.groups.modules == "apart",
            ends_apart=search.groups.ends == "apart",
        ),
        dtype=search.dtype,
        seed=search.seed,
        step=search.step,
        vocabulary=pool.deciding,
    )
