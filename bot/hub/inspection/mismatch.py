"""Decides whether two models can be merged, without their weights."""

from __future__ import annotations

from bot.hub.inspection.member import Member
from merging.models.settings import settings_mismatch
from merging.sources.family import family_mismatch
from merging.tokenizers.comparison import tokenizer_mismatch


def find_mismatch(reference: Member, other: Member) -> str | None:
    """The reason why two models cannot be merged, None if they can: tensors first, then what shapes do not show."""
    return (
        _experts_mismatch(reference, other)
        or family_mismatch(reference.headers, other.headers)
        or settings_mismatch(reference.settings, other.settings)
        or _token_mismatch(reference, other)
    )


def _experts_mismatch(base: Member, other: Member) -> str | None:
    """The reason why their layers have other experts, which tensor names would say less plainly; None if not."""
    if base.experts == other.experts:
        return None
    return f"it {_describe(other)}, and {base.repo} {_describe(base)}"


def _describe(member: Member) -> str:
    return f"has {member.experts}" if member.experts else "is dense"


def _token_mismatch(base: Member, other: Member) -> str | None:
    """The reason why equal token ids mean different tokens, by the first tokenizer file that both have; None if not."""
    if base.tokenizer is not None and other.tokenizer is not None:
        difference = tokenizer_mismatch(base.tokenizer, other.tokenizer)
        return f"its tokenizer is not that of {base.repo}: {difference}" if difference else None
    if base.pieces is None or other.pieces is None:
        return f"it has no {'tokenizer.json' if base.tokenizer else 'tokenizer.model'} to compare"
    return None if base.pieces == other.pieces else f"its tokenizer.model is not that of {base.repo}"
