"""What a budget may reach: the luck of the items, and what earlier searches of the watchlist show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bot.cycle.outlook import BudgetOutlook, make_outlook
from bot.ledger.ledger import Ledger
from bot.search.results import GeneralisationGap, SearchSummary
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import TaskDescription
from evaluation.splits import Split
from evaluation.statistics.power import lead_by_luck
from fixtures.cycles import small_watchlist

GROWN = ((8, 0.2), (16, 0.3), (24, 0.36), (32, 0.38), (40, 0.4))
LUCKY = GeneralisationGap(0.4, 0.35, 0.2, 0.15, 0.01, 0.09)
CLOUDED = GeneralisationGap(0.4, 0.35, 0.2, 0.15, -0.01, 0.11)
DISAGREEING = GeneralisationGap(0.4, 0.45, 0.2, 0.21, 0.01, 0.03)


def tasks(items: int = 50) -> list[TaskDescription]:
    return [
        TaskDescription(
            skill=skill.name,
            key=task.key,
            task=task.task,
            metric="acc",
            filter="none",
            higher_is_better=True,
            num_fewshot=0,
            output_type="multiple_choice",
            dataset="none",
            items=dict.fromkeys(Split, items),
            own_search=False,
            language=None,
        )
        for skill in small_watchlist().evaluation_skills
        for task in skill.tasks
    ]


def outlook_after(
    folder: Path, gap: GeneralisationGap | None, candidates: int, grown: Sequence[tuple[int, float]] = GROWN
) -> BudgetOutlook:
    """The outlook where a cycle of 40 candidates is in the ledger."""
    ledger = Ledger(folder / "ledger.sqlite")
    cycle = ledger.begin("small", "d1", datetime.now(UTC)).id
    ledger.keep(cycle, "watchlist", small_watchlist(), Watchlist)
    ledger.keep(cycle, "search", SearchSummary(40, 0, tuple(grown), (), (), 9.0, "budget", ()), SearchSummary)
    if gap is not None:
        ledger.keep(cycle, GeneralisationGap.STAGE, gap, GeneralisationGap)
    return make_outlook(small_watchlist(search={"budget": {"candidates": candidates}}), tasks(), ledger)


def test_the_best_of_equals_leads_by_what_chance_gives_it() -> None:
    """Independent models that solve half of the items differ on half of them, as is assumed."""
    for items, candidates in ((50, 40), (200, 200)):
        best = np.random.default_rng(0).binomial(items, 0.5, (4000, candidates)).max(axis=1) / items - 0.5
        assert lead_by_luck(items, candidates) == pytest.approx(best.mean(), rel=0.05)
    assert lead_by_luck(50, 1) == 0
    outlook = make_outlook(small_watchlist(), tasks(), None)
    assert [(one.skill, one.items, one.lead) for one in outlook.luck] == [
        ("math", 50, lead_by_luck(50, 40)),
        ("cross", 50, lead_by_luck(50, 40)),
    ]
    points = f"{100 * lead_by_luck(50, 40):.1f} points (50 items)"
    assert outlook.describe() == [
        "by luck alone, the best of 40 equally good candidates leads on the search items by up to: "
        f"math {points}, cross {points}"
    ]


def test_an_earlier_search_says_what_the_budget_reached_and_from_where_on_it_was_luck(tmp_path: Path) -> None:
    for number, (gap, candidates, words) in enumerate(
        (
            (LUCKY, 20, "with this budget, small-1 had reached 75% of its final hypervolume; after 24 of its 40"),
            (CLOUDED, 40, "with this budget, small-1 had reached 100% of its final hypervolume"),
            (DISAGREEING, 40, "with this budget, small-1 had reached 100% of its final hypervolume"),
            (None, 41, "small-1 tried fewer candidates (40), so nobody knows what more of them find"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        line = outlook_after(folder, gap, candidates).describe()[1]
        assert line.startswith(words) and ("luck" in line) == (gap is LUCKY)
    (tmp_path / "nothing").mkdir()
    assert outlook_after(tmp_path / "nothing", None, 40, ((20, 0.0), (40, 0.0))).earlier is None
