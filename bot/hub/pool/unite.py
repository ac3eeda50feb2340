"""Plans the one vocabulary of all merges of a pool, from its members' small files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from bot.hub.client import Hub
from bot.hub.discovery.candidate import Verdict
from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Pool
from bot.hub.pool.vocabulary import SAME, PoolVocabulary, TokenShare
from bot.hub.resolver import ModelFiles
from bot.watchlist.load import UnfitValueError
from merging.errors import MergingError
from merging.tokenizers.source_tokenizer import TOKENIZER, SourceTokenizer, read_source_tokenizer
from templates.escaping import plain

UNION, BASE = "union", "base"
_KEY = ("search", "vocabulary")
_MOST_REMARKS = 6

ReadFiles = Callable[[Member], Mapping[str, bytes]]
"""Reads a member's small files by name, config.json among them."""


def read_from_hub(hub: Hub) -> ReadFiles:
    """Read members' small files before anything of them is fetched."""

    def read(member: Member) -> Mapping[str, bytes]:
        whole = member.remotes[0]
        return ModelFiles(whole.ref, whole).read_small_files(hub)

    return read


def keep_unitable(
    members: Sequence[Member], base: Member | None, read: ReadFiles
) -> tuple[list[Member], list[Verdict]]:
    """Keep the members whose tokens mean the same as those of the base, and of the members before, that spell alike."""
    from merging.tokenizers.meanings import find_conflict

    known: list[SourceTokenizer] = [] if base is None else [_read_tokenizer(base, read)]
    kept, refused = [], []
    for member in members:
        try:
            own = _read_tokenizer(member, read)
        except MergingError as error:
            refused.append(member.refuse(plain(str(error).removeprefix(f"{member.repo}: "))))
            continue
        conflict = next((found for other in known if (found := find_conflict(other, own))), None)
        if conflict is None:
            known.append(own)
            kept.append(member)
        else:
            refused.append(member.refuse(plain(conflict)))
    return kept, refused


def with_vocabulary(pool: Pool, chosen: str, read: ReadFiles) -> Pool:
    """The pool with the vocabulary of its merges, as search.vocabulary chooses it; without one if all members agree.

    Neither is there one beside a carrier, whose tokens all merges have.

    Raises:
        UnfitValueError: the model that is to decide is not in the pool, or the vocabularies cannot be united.
    """
    if pool.carrier is not None or share_vocabulary(pool.members, chosen):
        return replace(pool, vocabulary=None)
    deciding = _choose_deciding(pool, chosen)
    try:
        return replace(pool, vocabulary=_plan(pool, chosen, deciding, read))
    except MergingError as error:
        raise UnfitValueError(_KEY, chosen, f"{plain(str(error))}; leave the model out, or choose another") from error


def share_vocabulary(members: Sequence[Member], chosen: str) -> bool:
    """Whether every member has the same tokens at the same rows, so that any choice is the same."""
    heights = {member.rows for member in members}
    if chosen == SAME:
        return len(heights) == 1
    meanings = [member.tokenizer for member in members]
    return len(heights) == 1 and all(meaning == meanings[0] for meaning in meanings)


def _choose_deciding(pool: Pool, chosen: str) -> tuple[Member, ...]:
    """The members that decide on the vocabulary, the one that leads first."""
    first = pool.sources[0]
    if chosen == SAME:
        return (first,)
    if chosen == UNION:
        return pool.members
    if chosen == BASE:
        if pool.base is None:
            raise UnfitValueError(_KEY, chosen, "the pool has no base; write union, or a source as owner/name")
        return (pool.base,)
    named = [source for source in pool.sources if source.repo == chosen]
    if not named:
        raise UnfitValueError(_KEY, chosen, f"it is not among the sources; pin it, or name one such as {first.repo}")
    return (named[0],)


def _plan(pool: Pool, chosen: str, deciding: Sequence[Member], read: ReadFiles) -> PoolVocabulary:
    from merging.tokenizers.aligned import plan_shared_vocabulary
    from merging.tokenizers.comparison import digest_tokenizer
    from merging.tokenizers.meanings import describe_differences

    tokenizers = {member.ref: _read_tokenizer(member, read) for member in pool.members}
    models = tuple(member.ref for member in deciding)
    found = plan_shared_vocabulary(models, tokenizers)
    merged = digest_tokenizer(found.files[TOKENIZER])
    repos = {member.ref: member.repo for member in pool.members}

    def share(member: Member) -> TokenShare:
        own = found.own[member.ref]
        copied = [(repos[donor], int((own[rows] < 0).sum())) for donor, rows, _ in found.copies]
        return TokenShare(
            repo=member.repo,
            own=int((own >= 0).sum()),
            copied=tuple((repo, rows) for repo, rows in copied if rows),
            averaged=int((own[found.averaged] < 0).sum()),
            dropped=len(tokenizers[member.ref].tokens.keys() - found.tokens.keys()),
            is_whole=member.tokenizer == merged,
        )

    others = [tokenizers[member.ref] for member in pool.members if member.ref != models[0]]
    remarks = tuple(map(plain, describe_differences([tokenizers[models[0]], *others])))
    return PoolVocabulary(
        chosen=chosen,
        deciding=models,
        tokens=len(found.tokens),
        rows=found.rows,
        shares=tuple(map(share, pool.members)),
        remarks=_shortened(remarks),
    )


def _shortened(remarks: tuple[str, ...]) -> tuple[str, ...]:
    more = len(remarks) - _MOST_REMARKS
    return (*remarks[:_MOST_REMARKS], f"{more} more differences of this kind") if more > 0 else remarks


def _read_tokenizer(member: Member, read: ReadFiles) -> SourceTokenizer:
    if member.rows is None:
        raise MergingError(f"{member.repo}: none of its tensors has the rows that its config says")
    return read_source_tokenizer(member.repo, read(member), member.rows)
