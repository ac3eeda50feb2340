"""Keeps the members whose weights can be averaged, each of them once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bot.hub.discovery.candidate import Verdict
from bot.hub.inspection.member import Member
from bot.hub.inspection.mismatch import NO_USES, find_mismatch


def keep_one_family(
    members: Sequence[Member],
    base: Member | None,
    *,
    united: bool = False,
    components: Mapping[str, str] = NO_USES,
) -> tuple[list[Member], list[Verdict]]:
    """Keep the members whose weights can be averaged with the base's, as `split_family` does.

    united: whether the merges unite vocabularies, so that members may have different ones. components: as
    `find_mismatch` takes them.
    """
    return split_family(members, base, partial(find_mismatch, united=united, components=components))


def split_family(
    members: Sequence[Member], base: Member | None, mismatch: Callable[[Member, Member], str | None]
) -> tuple[list[Member], list[Verdict]]:
    """Keep the members that agree with the base; without a base, the largest group that agrees.

    If two groups are equally large, the one with the better first member is kept (members come best first).
    mismatch: the reason why the second model does not agree with the first; None if it does.
    """
    if base is not None:
        reference = base
    else:
        sizes = [sum(mismatch(one, other) is None for other in members) for one in members]
        if not sizes:
            return [], []
        reference = members[sizes.index(max(sizes))]
    kept, unrelated = [], []
    for member in members:
        reason = mismatch(reference, member)
        if reason is None:
            kept.append(member)
        else:
            unrelated.append(member.refuse(f"not of the family of {reference.repo}: {reason}"))
    return kept, unrelated


def drop_duplicates(
    members: Sequence[Member], base: Member | None, components: Mapping[str, str] = NO_USES
) -> tuple[list[Member], list[Verdict]]:
    """Keep the first member of each set of weight files, compared by the Hub's hashes.

    Of pipelines, only the files of components that merges take from them. components: as `find_mismatch` takes them.
    """
    used = [name for name, use in components.items() if use != "keep"]
    owners = {_weight_ids(base, used): f"the base {base.repo}"} if base else {}
    kept, duplicates = [], []
    for member in members:
        weights = _weight_ids(member, used)
        if weights in owners:
            duplicates.append(member.refuse(f"it has the same weights as {owners[weights]}"))
        else:
            owners[weights] = member.repo
            kept.append(member)
    return kept, duplicates


def _weight_ids(member: Member, used: Sequence[str]) -> tuple[str, ...]:
    """used: names of the components besides the first whose weights go into merges."""
    taken = {name: paths for name, paths in member.components.items() if name in (next(iter(member.components)), *used)}
    folders = {path.partition(".")[0] for paths in taken.values() for path in paths}
    files = (
        file
        for remote in member.remotes
        for file in remote.candidate.weight_files
        if not remote.candidate.is_pipeline or file.path.partition("/")[0] in folders
    )
    return tuple(sorted(file.content_id or file.path for file in files))
