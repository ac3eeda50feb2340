"""What a search's budget is likely to reach, and when more candidates would only fit noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.ledger.ledger import Cycle, Ledger
from bot.release.power import count_items
from bot.search.results import GeneralisationGap, SearchSummary
from bot.watchlist.item_counts import task_items
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import TaskDescription
from evaluation.splits import Split
from evaluation.statistics.power import effective_items, lead_by_luck


@dataclass(frozen=True)
class LuckyLead:
    """How far the best of equally good candidates leads their true score in a skill, by the luck of the search items.

    items: of all the skill's tasks. lead: for scores between 0 and 1, at most.
    """

    skill: str
    items: int
    lead: float


@dataclass(frozen=True)
class EarlierSearch:
    """How the hypervolume grew in an earlier cycle's search.

    tried: candidates in all. enough: candidates after which it grew by no more than what turned out to be luck; None
    where none of it could be told from luck, or the cycle did not come so far. share: of the final hypervolume, that
    which a search of the planned budget had reached; None where the plan has more candidates than that search.
    """

    cycle: str
    tried: int
    enough: int | None
    share: float | None


@dataclass(frozen=True)
class BudgetOutlook:
    """What a budget is likely to reach.

    candidates: of the budget. luck: in each skill. earlier: the watchlist's newest cycle with a search; None for none.
    """

    candidates: int
    luck: tuple[LuckyLead, ...]
    earlier: EarlierSearch | None

    def describe(self) -> list[str]:
        """In words, a line or two."""
        leads = ", ".join(f"{one.skill} {100 * one.lead:.1f} points ({one.items} items)" for one in self.luck)
        lines = [
            f"by luck alone, the best of {self.candidates} equally good candidates leads on the search items by up to: "
            f"{leads}"
        ]
        return [*lines, *([_describe_earlier(self.earlier)] if self.earlier else [])]


def make_outlook(watchlist: Watchlist, tasks: Sequence[TaskDescription], ledger: Ledger | None) -> BudgetOutlook:
    """What the watchlist's budget is likely to reach. tasks: all of its own. ledger: where its cycles are, if any."""
    counts, candidates = count_items(tasks, Split.SEARCH), watchlist.search.budget.candidates
    luck = []
    for skill in watchlist.skills:
        weights, items = task_items(skill, counts)
        luck.append(LuckyLead(skill.name, sum(items), lead_by_luck(effective_items(weights, items), candidates)))
    return BudgetOutlook(candidates, tuple(luck), find_earlier_search(watchlist, ledger) if ledger else None)


def find_earlier_search(watchlist: Watchlist, ledger: Ledger) -> EarlierSearch | None:
    """The search of the watchlist's newest cycle with one of several generations that found anything; None for none."""
    for cycle in ledger.cycles(watchlist.name):
        found = ledger.kept(cycle.id, "search", SearchSummary)
        asked = ledger.kept(cycle.id, "watchlist", Watchlist)
        if found is not None and asked is not None and len(found.generations) > 1 and found.generations[-1][1] > 0:
            budget = watchlist.search.budget.candidates / asked.search.budget.candidates
            gap = ledger.kept(cycle.id, GeneralisationGap.STAGE, GeneralisationGap)
            return _earlier_search(cycle, found, budget, gap)
    return None


def _earlier_search(cycle: Cycle, found: SearchSummary, budget: float, gap: GeneralisationGap | None) -> EarlierSearch:
    """budget: the planned one in units of the cycle's; as many candidates more or less are tried."""
    tried, final = found.generations[-1]
    # As a share, because the search may have measured hypervolume with depth as one more objective.
    luck = final * gap.gap / gap.search if gap is not None and gap.is_luck else 0.0
    reached = max((volume for scored, volume in found.generations if scored <= budget * tried), default=0.0)
    return EarlierSearch(
        cycle=cycle.id,
        tried=tried,
        enough=next(scored for scored, volume in found.generations if volume >= final - luck) if luck else None,
        share=reached / final if budget <= 1 else None,
    )


def _describe_earlier(earlier: EarlierSearch) -> str:
    if earlier.share is None:
        reach = f"{earlier.cycle} tried fewer candidates ({earlier.tried}), so nobody knows what more of them find"
    else:
        reach = f"with this budget, {earlier.cycle} had reached {earlier.share:.0%} of its final hypervolume"
    if earlier.enough is None:
        return reach
    return (
        f"{reach}; after {earlier.enough} of its {earlier.tried} candidates it gained no more than what was luck, so "
        "more items (items.search) would tell more than more candidates"
    )
