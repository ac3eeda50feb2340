"""The pool: the sources that can be merged with each other, their base, and the licence of their merges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

from bot.errors import ShoalError
from bot.hub.discovery.candidate import Candidate, Verdict
from bot.hub.discovery.conversion import describe_conversion
from bot.hub.inspection.member import Adaptation, Member, RemoteWeights, distinct_remotes
from bot.hub.inspection.mismatch import headers_in_carrier, note_differences
from bot.hub.licences import (
    DeclaredLicence,
    ReleaseLicence,
    combine_licences,
)
from bot.hub.pool.lineage import Licensed, Lineage, member_licences
from bot.hub.pool.vocabulary import PoolVocabulary
from merging.dtypes import element_bytes
from merging.identity import ModelId
from merging.sources.family import TensorHeader
from templates.escaping import plain


class NoPool(ShoalError):  # noqa: N818 - named after the finding
    """Fewer than two sources are left; `verdicts` says why, candidate by candidate."""

    def __init__(self, message: str, verdicts: tuple[Verdict, ...]) -> None:
        super().__init__(message)
        self.verdicts = verdicts


@dataclass(frozen=True)
class Family:
    """Sources whose weights can be merged, best first, with their base if there is one.

    Each may be merged with the base, as far as licences go; two of the sources may exclude each other.

    verdicts: one for every candidate, the accepted first.
    lineage: for each member's repo, the licences of the ancestors that it declares.
    layers: number of layers of one model. noncommercial: the watchlist's key of that name.
    vocabulary: the one of all merges; None where the members have the same.
    kind: name of the kind of model that merges are. carrier: the member that they are built in; None where models have
    one component. last_stage: the adapter that is added to merges; None for none. picture_size: the watchlist's key of
    that name.
    """

    base: Member | None
    sources: tuple[Member, ...]
    verdicts: tuple[Verdict, ...]
    lineage: tuple[tuple[str, tuple[DeclaredLicence, ...]], ...]
    layers: int
    noncommercial: bool
    vocabulary: PoolVocabulary | None = field(default=None, kw_only=True)
    kind: str = field(default="language", kw_only=True)
    carrier: ModelId | None = field(default=None, kw_only=True)
    last_stage: RemoteWeights | None = field(default=None, kw_only=True)
    picture_size: int | None = field(default=None, kw_only=True)

    @property
    def leader(self) -> Member:
        """The member whose config, tokenizer and chat template merges have.

        The carrier; else the best source, not the base: bases seldom have a chat template. Where vocabularies differ,
        the one that leads.
        """
        leading = self.carrier if self.vocabulary is None else self.vocabulary.deciding[0]
        return next((member for member in self.members if member.ref == leading), self.sources[0])

    @property
    def prototype(self) -> Member:
        """A member with the tensors and the settings of every merge: the carrier; else the best source."""
        return next((member for member in self.members if member.ref == self.carrier), self.sources[0])

    @property
    def deciding(self) -> tuple[ModelId, ...]:
        """The models that decide on the vocabulary of every merge; empty where the members have the same."""
        return self.vocabulary.deciding if self.vocabulary else ()

    @property
    def merged_headers(self) -> Mapping[str, TensorHeader]:
        """The headers of a merge's tensors, but for their dtype: those of a source, with the merges' rows."""
        return self.leader.headers_with(self.vocabulary.rows if self.vocabulary else None)

    @property
    def members(self) -> tuple[Member, ...]:
        """The models that are merged: the sources, then the base."""
        return (*self.sources, self.base) if self.base else self.sources

    @property
    def staged(self) -> Member | None:
        """The model by which a last stage is read: the carrier, else base or best source, with the adapter."""
        if self.last_stage is None:
            return None
        whole = self.base if self.base and self.carrier is None else self.prototype
        adaptation = Adaptation(whole.remotes[0], self.last_stage)
        return replace(whole, candidate=self.last_stage.candidate, adaptation=adaptation)

    @property
    def given(self) -> tuple[Licensed, ...]:
        """What every merge may be made of, whatever its sources: the base, and the last stage."""
        return tuple(one for one in (self.base, self.last_stage) if one is not None)

    @property
    def read_models(self) -> tuple[Member, ...]:
        """The models that are read: the members, then that of the last stage."""
        return (*self.members, self.staged) if self.staged else self.members

    @property
    def pinned(self) -> tuple[Member, ...]:
        """The sources that take part whatever they score: those that the watchlist names, and the carrier."""
        return tuple(one for one in self.sources if one.candidate.pinned is not None or one.ref == self.carrier)

    @property
    def remotes(self) -> tuple[RemoteWeights, ...]:
        """The repos that are fetched, each once."""
        return distinct_remotes(self.read_models)

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch for all members."""
        return sum(remote.candidate.download_bytes for remote in self.remotes)

    @property
    def conversion_bytes(self) -> int:
        """Bytes of room that is needed besides while pickled weights are converted, one repo after the other."""
        return max(remote.conversion_bytes for remote in self.remotes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all members' tensors."""
        return sum(member.weight_bytes for member in self.members)

    @property
    def parameters(self) -> int:
        """Number of weights of one merge with a source's layers."""
        return sum(math.prod(header.shape) for header in self.merged_headers.values())

    def model_bytes(self, dtype: str) -> int:
        """Bytes of one merged model in `dtype` (float32, bfloat16 or float16)."""
        return self.parameters * element_bytes(dtype)

    def with_sources(self, sources: Sequence[Member], refused: Iterable[Verdict]) -> Self:
        """The same with some of its sources, and without a vocabulary: it may be another one.

        refused: why not the others. NoPool if fewer than two are left, or none that could be the carrier.
        """
        refused = list(refused)
        others = [verdict for verdict in self.verdicts if not verdict.accepted]
        carrier = None
        if self.carrier is not None:
            carrier = _keep_carrier(self.kind, self.carrier, _with_base(sources, self.base), [*refused, *others])
        staged = [describe_last_stage(self.last_stage.candidate)] if self.last_stage else []
        every = (*_accept(self.base, sources, carrier), *staged, *refused, *others)
        if len(sources) < 2:
            raise NoPool(explain_too_few(sources, every), every)
        left = {member.repo for member in _with_base(sources, self.base)}
        left |= {self.last_stage.repo} if self.last_stage else set()
        return replace(
            self,
            sources=_carrier_first(sources, carrier),
            verdicts=every,
            lineage=tuple(entry for entry in self.lineage if entry[0] in left),
            vocabulary=None,
            carrier=carrier.ref if carrier else None,
        )


@dataclass(frozen=True)
class Pool(Family):
    """The sources of a search, and the licence of their merges."""

    licence: ReleaseLicence

    def with_sources(self, sources: Sequence[Member], refused: Iterable[Verdict]) -> Self:
        """As that of a family; a smaller pool may have another licence."""
        left = super().with_sources(sources, refused)
        return replace(left, licence=_combine_licences(left))


AnyFamily = TypeVar("AnyFamily", bound=Family)


def assemble_family(
    base: Member | None,
    sources: Sequence[Member],
    verdicts: Iterable[Verdict],
    lineage: Lineage,
    *,
    noncommercial: bool,
    kind: str = "language",
    carrier: Member | None = None,
    last_stage: RemoteWeights | None = None,
    picture_size: int | None = None,
) -> Family:
    """The family of these sources; NoPool if they are fewer than two.

    kind: name of the kind of their merges. carrier: the model that these are built in, if it is one of them; otherwise
    another takes its place. None where models have one component. last_stage: the adapter that is added to merges.
    picture_size: as in `Family`.
    """
    refused = list(verdicts)
    if carrier is not None:
        carrier = _keep_carrier(kind, carrier.ref, _with_base(sources, base), refused)
    staged = [describe_last_stage(last_stage.candidate)] if last_stage else []
    every = (*_accept(base, sources, carrier), *staged, *refused)
    if len(sources) < 2:
        raise NoPool(explain_too_few(sources, every), every)
    listed: list[Licensed] = [*_with_base(sources, base), *([last_stage] if last_stage else [])]
    return Family(
        base=base,
        sources=_carrier_first(sources, carrier),
        verdicts=every,
        lineage=tuple((one.repo, lineage[one.repo]) for one in listed),
        layers=sources[0].layers,
        noncommercial=noncommercial,
        kind=kind,
        carrier=carrier.ref if carrier else None,
        last_stage=last_stage,
        picture_size=picture_size,
    )


def choose_pool(family: Family, sources: Sequence[Member], refused: Iterable[Verdict]) -> Pool:
    """The pool of some of a family's sources.

    refused: why not the others. Raises NoPool if they are fewer than two, LicenceError if they exclude each other.
    """
    chosen = family.with_sources(sources, refused)
    return Pool(**vars(chosen), licence=_combine_licences(chosen))


def remove_members(family: AnyFamily, bad: Sequence[Verdict]) -> AnyFamily:
    """The family without the sources that `bad` refuses; NoPool if fewer than two are left."""
    gone = {verdict.repo: verdict.reason for verdict in reversed(bad)}
    named: list[tuple[str, Licensed]] = [("base", family.base)] if family.base is not None else []
    if family.carrier is not None and family.leader.candidate.pinned is not None:
        named.append(("carrier", family.leader))
    if family.last_stage is not None:
        named.append(("search.last_stage.adapter", family.last_stage))
    for key, member in named:
        if member.repo in gone:
            another = key.rpartition(".")[2]
            why = f"{key}: got {member.repo!r}: {gone[member.repo]}; name another {another} in the watchlist"
            raise NoPool(why, tuple(bad))
    return family.with_sources([source for source in family.sources if source.repo not in gone], bad)


def merged_headers(family: Family, member: Member) -> dict[str, TensorHeader]:
    """A member's headers as merges read it: in their vocabulary, and by the carrier's names if there is one."""
    if family.carrier is not None:
        return headers_in_carrier(family.prototype, member)
    return member.headers_with(family.vocabulary.rows if family.vocabulary else None)


def _keep_carrier(kind: str, carrier: ModelId, members: Sequence[Member], refused: Sequence[Verdict]) -> Member:
    """The carrier among some members; the first that can take its place, if it is gone. NoPool if there is none."""
    whole = [member for member in members if not member.is_part_of(kind)]
    if not whole:
        raise NoPool(f"no source of kind {kind} is left, and merges need one as their carrier", tuple(refused))
    return next((member for member in whole if member.ref == carrier), whole[0])


def _carrier_first(sources: Sequence[Member], carrier: Member | None) -> tuple[Member, ...]:
    return tuple(sorted(sources, key=lambda source: source is not carrier)) if carrier else tuple(sources)


def _combine_licences(family: Family) -> ReleaseLicence:
    lineage = dict(family.lineage)
    declared = [entry for member in family.read_models for entry in member_licences(member, lineage)]
    return combine_licences(declared, noncommercial=family.noncommercial)


def _accept(base: Member | None, sources: Iterable[Member], carrier: Member | None) -> list[Verdict]:
    listed = list(sources)
    leader = carrier or next(iter(listed), None)
    return [
        Verdict(one.repo, one.sha, True, _acceptance_reason(one, base, leader) + _describe_role(one, carrier))
        for one in listed
        if leader is not None
    ]


def describe_last_stage(adapter: Candidate) -> Verdict:
    """The verdict that accepts the adapter of the last stage."""
    reason = f"the last stage: an adapter{_in_file(adapter)} that is added to merges, {adapter.licence}"
    return Verdict(adapter.repo, adapter.sha, True, reason)


def _in_file(candidate: Candidate) -> str:
    return f" ({candidate.meant_file})" if candidate.meant_file else ""


def _with_base(members: Sequence[Member], base: Member | None) -> tuple[Member, ...]:
    return (*members, base) if base else tuple(members)


def _acceptance_reason(source: Member, base: Member | None, leader: Member) -> str:
    """leader: the source whose config the merges have."""
    family = f"of the family of {base.repo}" if base else "of one family with the others"
    if source.adaptation is not None:
        changes = f" that changes the {' and the '.join(changed)}" if (changed := source.adaptation.changes) else ""
        family = f"an adapter{_in_file(source.candidate)} on {source.adaptation.base.repo}{changes}, {family}"
    beside = source.candidate.flagged_beside
    warning = f"; the Hub's security scan warns of {plain(beside[0])[:60]}, which is not fetched" if beside else ""
    size = f"{source.parameters:,} parameters"
    if source.experts:
        size += f" in a mixture of experts ({source.experts})"
    note = f"; {differences}" if (differences := note_differences(leader, source)) else ""
    converted = "".join(f"; {how}" for remote in source.remotes if (how := describe_conversion(remote.candidate)))
    return f"{family}, {size}, {source.candidate.licence}{note}{converted}{warning}"


def _describe_role(source: Member, carrier: Member | None) -> str:
    """The end of an accepted source's reason where merges are built in a carrier."""
    if carrier is None:
        return ""
    if source is carrier:
        return "; the carrier: merges have its settings and its own other components"
    if source.partial:
        held = f"{' and '.join(source.components)}{_in_file(source.candidate)}"
        return f"; its {held} within {carrier.repo}, which gives all else"
    return "" if source.kind == carrier.kind else f"; merged into the language model of {carrier.repo}"


def explain_too_few(sources: Sequence[Member], verdicts: Sequence[Verdict]) -> str:
    bad = [verdict for verdict in verdicts if not verdict.accepted]
    examples = "; ".join(f"{verdict.repo}: {verdict.reason}" for verdict in bad[:3])
    reasons = f"{len(bad)} refused ({examples}{'; …' if len(bad) > 3 else ''})" if bad else "nothing else was found"
    if sources:
        return f"one source only ({sources[0].repo}), a merge needs two: {reasons}; widen the watchlist"
    return f"no candidate left: {reasons}; widen the watchlist"
