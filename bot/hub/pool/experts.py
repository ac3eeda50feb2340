"""Refuses mixtures whose experts are numbered otherwise than the others': only their weights show it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bot.hub.discovery.candidate import Verdict
from bot.hub.inspection.member import Member
from bot.hub.pool.family import split_family
from bot.hub.pool.pool import Family
from bot.hub.resolver import open_weights
from merging.identity import ModelId

if TYPE_CHECKING:
    from merging.sources.weights import Weights


def refuse_other_experts(family: Family, folders: Mapping[ModelId, Path]) -> list[Verdict]:
    """The verdicts on sources whose experts are not the base's; without a base, those of the largest group that agrees.

    folders: those of the fetched repos, by commit. The base itself, and adapters on one base, have the same experts.
    """
    if family.prototype.experts is None:
        return []
    from merging.models.experts import experts_mismatch

    @cache
    def opened(model: ModelId) -> Weights:
        return open_weights(model, folders)

    def mismatch(reference: Member, other: Member) -> str | None:
        one, two = reference.ref.plain, other.ref.plain
        if reference.experts is None or one == two:
            return None
        return experts_mismatch(opened(one), opened(two), reference.experts)

    return split_family(family.sources, family.base, mismatch)[1]
