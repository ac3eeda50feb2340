"""How many workers this machine runs for a cycle's candidates."""

from __future__ import annotations

from bot.hub.pool import Pool
from bot.scoring.resources import Resources, choose_device, inspect_machine, plan_resources
from bot.search.strategies.strategy import SearchStrategy
from bot.watchlist.watchlist import Watchlist


def fit_resources(watchlist: Watchlist, strategy: SearchStrategy, pool: Pool) -> tuple[Resources, int]:
    """The workers and their device, and the bytes that each worker needs for the weights of its candidates."""
    machine = inspect_machine(watchlist.workers.device)
    device = choose_device(machine, watchlist.workers)
    needed = strategy.candidate_bytes(pool, watchlist.search.dtype, device)
    return plan_resources(machine, needed, watchlist.workers), needed
