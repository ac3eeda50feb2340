"""The pool: the sources that can be merged with each other, their base, and the licence of their merges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.errors import ShoalError
from bot.hub.discovery.candidate import Verdict
from bot.hub.inspection.member import Member, RemoteWeights, distinct_remotes
from bot.hub.licences import (
    DeclaredLicence,
    ReleaseLicence,
    combine_licences,
)
from bot.hub.pool.lineage import Lineage, member_licences
from merging.dtypes import element_bytes
from merging.tensor_names import count_layers
from templates.escaping import plain


class NoPool(ShoalError):  # noqa: N818 - named after the finding
    """Fewer than two sources are left; `verdicts` says why, candidate by candidate."""

    def __init__(self, message: str, verdicts: tuple[Verdict, ...]) -> None:
        super().__init__(message)
        self.verdicts = verdicts


@dataclass(frozen=True)
class Pool:
    """Sources of one family, best first, with their base if there is one.

    verdicts: one for every candidate, the accepted first.
    lineage: for each member's repo, the licences of the ancestors that it declares.
    layers: number of layers of one model. noncommercial: the watchlist's key of that name.
    """

    base: Member | None
    sources: tuple[Member, ...]
    verdicts: tuple[Verdict, ...]
    lineage: tuple[tuple[str, tuple[DeclaredLicence, ...]], ...]
    licence: ReleaseLicence
    layers: int
    noncommercial: bool

    @property
    def members(self) -> tuple[Member, ...]:
        """The models that are read: the sources, then the base."""
        return (*self.sources, self.base) if self.base else self.sources

    @property
    def remotes(self) -> tuple[RemoteWeights, ...]:
        """The repos that are fetched, each once."""
        return distinct_remotes(self.members)

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch for all members."""
        return sum(remote.candidate.download_bytes for remote in self.remotes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all members' tensors."""
        return sum(member.weight_bytes for member in self.members)

    @property
    def parameters(self) -> int:
        """Number of weights of one model."""
        return self.sources[0].parameters

    def model_bytes(self, dtype: str) -> int:
        """Bytes of one merged model in `dtype` (float32, bfloat16 or float16)."""
        return self.parameters * element_bytes(dtype)


def assemble_pool(
    base: Member | None,
    sources: Sequence[Member],
    verdicts: Iterable[Verdict],
    lineage: Lineage,
    *,
    noncommercial: bool,
) -> Pool:
    """The pool of these sources; NoPool if they are fewer than two."""
    kept = [Verdict(source.repo, source.sha, True, _acceptance_reason(source, base)) for source in sources]
    every = (*kept, *verdicts)
    if len(sources) < 2:
        raise NoPool(explain_too_few(sources, every), every)
    members = _with_base(sources, base)
    declared = [entry for member in members for entry in member_licences(member, lineage)]
    licence = combine_licences(declared, noncommercial=noncommercial)
    lineages = tuple((member.repo, lineage[member.repo]) for member in members)
    layers = count_layers(sources[0].headers)
    return Pool(base, tuple(sources), every, lineages, licence, layers, noncommercial)


def remove_members(pool: Pool, bad: Sequence[Verdict]) -> Pool:
    """The pool without the sources that `bad` refuses; NoPool if fewer than two are left."""
    gone = {verdict.repo for verdict in bad}
    if pool.base is not None and pool.base.repo in gone:
        reason = next(verdict.reason for verdict in bad if verdict.repo == pool.base.repo)
        raise NoPool(f"base: got {pool.base.repo!r}: {reason}; name another base in the watchlist", tuple(bad))
    left = [source for source in pool.sources if source.repo not in gone]
    others = [verdict for verdict in pool.verdicts if not verdict.accepted]
    lineage = dict(pool.lineage)
    return assemble_pool(pool.base, left, [*bad, *others], lineage, noncommercial=pool.noncommercial)


def _with_base(members: Sequence[Member], base: Member | None) -> tuple[Member, ...]:
    return (*members, base) if base else tuple(members)


def _acceptance_reason(source: Member, base: Member | None) -> str:
    family = f"of the family of {base.repo}" if base else "of one family with the others"
    beside = source.candidate.flagged_beside
    warning = f"; the Hub's security scan warns of {plain(beside[0])[:60]}, which is not fetched" if beside else ""
    size = f"{source.parameters:,} parameters"
    if source.experts:
        size += f" in a mixture of experts ({source.experts})"
    return f"{family}, {size}, {source.candidate.licence}{warning}"


def explain_too_few(sources: Sequence[Member], verdicts: Sequence[Verdict]) -> str:
    bad = [verdict for verdict in verdicts if not verdict.accepted]
    examples = "; ".join(f"{verdict.repo}: {verdict.reason}" for verdict in bad[:3])
    reasons = f"{len(bad)} refused ({examples}{'; …' if len(bad) > 3 else ''})" if bad else "nothing else was found"
    if sources:
        return f"one source only ({sources[0].repo}), a merge needs two: {reasons}; widen the watchlist"
    return f"no candidate left: {reasons}; widen the watchlist"
