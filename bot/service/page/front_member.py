"""A front member that was picked on the page: its scores with intervals, its merge, its card, and its recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.cycle.history import CyclePage
from bot.cycle.past.export import render_export_card
from bot.cycle.past.front import FrontMember
from bot.cycle.past.rebuild import kept_pool, stored_recipe
from bot.errors import ShoalError
from bot.ledger.ledger import Ledger, ReleaseEntry
from bot.release.card.merge_facts import RecipeFacts
from bot.release.card.recipes import recipe_facts
from bot.release.report import CycleFacts
from evaluation.statistics.values import Interval
from merging.errors import MergingError


@dataclass(frozen=True)
class SplitScores:
    """A member's scores on one split: one for each skill, with limits where they are known.

    note: what the split was for.
    """

    split: str
    note: str
    scores: tuple[float | Interval, ...]


@dataclass(frozen=True)
class MemberView:
    """A picked front member.

    merge: what it is, in a few words. facts: its coefficients or its path; None where it cannot be read any more, for
    the reason `fault`. recipe: indented JSON. release: the release with this recipe; None if it was not released.
    exports: commands that write it as a model, and as a recipe for mergekit.
    """

    member: FrontMember
    merge: str
    scores: tuple[SplitScores, ...]
    facts: RecipeFacts | None
    fault: str
    recipe: str
    release: ReleaseEntry | None
    exports: tuple[str, str]


def view_member(ledger: Ledger, page: CyclePage, member: FrontMember, exports: tuple[str, str]) -> MemberView:
    """A front member with all that the ledger knows of it."""
    text, merge, facts, fault = ledger.recipe(member.recipe), "", None, ""
    try:
        recipe, pool = stored_recipe(ledger, member.recipe), kept_pool(ledger, page.cycle.id)
        merge, facts = recipe.describe(), recipe_facts(recipe, pool, "")
    except (ShoalError, MergingError, KeyError) as error:
        fault = str(error)
    release = next((one for one in page.releases if one.recipe == member.recipe), None)
    return MemberView(
        member=member,
        merge=merge,
        scores=list_scores(page, member, release, _validation_intervals(ledger, page.cycle.id)),
        facts=facts,
        fault=fault,
        recipe=json.dumps(json.loads(text), indent=1),
        release=release,
        exports=exports,
    )


def list_scores(
    page: CyclePage, member: FrontMember, release: ReleaseEntry | None, validation: Mapping[str, Sequence[Interval]]
) -> tuple[SplitScores, ...]:
    """A member's scores, split by split. validation: intervals on that split, by recipe digest."""
    reported = next((row.scores for row in page.measured if release and row.name == release.role), ())
    validated = validation.get(member.recipe) or (member.gate.scores if member.gate else ())
    found = (
        SplitScores("search", "found by these, so they are too good", member.search),
        SplitScores("validation", "passed or refused by these", tuple(validated)),
        SplitScores("report", "read once, after the choice", tuple(reported)),
    )
    return tuple(one for one in found if one.scores)


def render_member_card(ledger: Ledger, hub_url: str, cycle: str, member: FrontMember) -> str:
    """The card with which a front member is exported, front matter and all.

    ShoalError or MergingError if its recipe or its pool cannot be read any more.
    """
    recipe, pool = stored_recipe(ledger, member.recipe), kept_pool(ledger, cycle)
    return render_export_card(ledger, hub_url, cycle, member, recipe, pool)


def _validation_intervals(ledger: Ledger, cycle: str) -> dict[str, tuple[Interval, ...]]:
    try:
        facts = ledger.kept(cycle, "report", CycleFacts)
    except ShoalError:  # kept by an older shoal
        return {}
    return {member.digest: member.scores for member in facts.front} if facts else {}
