"""Finds the bases of adapters: the pool's own, or a repo that an adapter names and that may be used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate
from bot.hub.discovery.conversion import prefer_conversion
from bot.hub.discovery.listing import LookUp
from bot.hub.discovery.query import query_source, read_index
from bot.hub.discovery.rules import ADAPTED_BASE, MODEL, first_refusal
from bot.hub.inspection.adapter import inspect_adapter, read_adapter_settings
from bot.hub.inspection.lora import inspect_lora
from bot.hub.inspection.member import Adaptation, Member, Unfit
from bot.hub.inspection.reading import inspect_source
from bot.watchlist.sections import PinnedModel
from bot.watchlist.watchlist import Watchlist
from merging.kinds import KINDS
from templates.escaping import plain


@dataclass
class AdapterBases:
    """The bases of a watchlist's adapters; each is inspected once, however many adapters name it.

    look_up: as in `discovery.listing`. base: the pool's, if it has one.
    known: repo → the whole model that the pool has of it; a pool has a repo at one commit only.
    """

    hub: Hub
    watchlist: Watchlist
    now: datetime
    look_up: LookUp
    base: Member | None
    known: dict[str, Candidate]
    _inspected: dict[str, Member | Unfit] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        hub: Hub,
        watchlist: Watchlist,
        now: datetime,
        look_up: LookUp,
        base: Member | None,
        candidates: Iterable[Candidate],
    ) -> AdapterBases:
        """Those of a pool's candidates, among which a base may be."""
        whole = [*(one for one in candidates if not one.is_adapter), *([base.candidate] if base else [])]
        return cls(hub, watchlist, now, look_up, base, {one.repo: one for one in whole})

    def inspect(self, candidate: Candidate) -> Member:
        """An adapter on the base that its settings name.

        Raises:
            Unfit: its base is gone, may not be used, or is another than its card says; or it does not fit the base.
            ShoalError: the Hub cannot be asked.
        """
        if candidate.lora_file is not None:
            return self._inspect_lora(candidate)
        if KINDS[self.watchlist.kind].loose_parts:
            raise Unfit("it is an adapter as peft saves them; LoRAs in one file are taken, as diffusers saves them")
        settings = read_adapter_settings(self.hub, candidate)
        named = self.look_up(settings.base.repo)
        if named is None:
            raise Unfit(f"its base {settings.base.repo} cannot be seen on the Hub")
        declared = [found.repo if (found := self.look_up(name)) else name for name in candidate.base_models]
        if declared and named.repo not in declared:
            raise Unfit(f"its settings name the base {named.repo}, its card {plain(declared[0])[:96]}")
        base = self._at_commit(named, settings.base)
        self._check_rules(candidate, base)
        return inspect_adapter(self.hub, candidate, settings, self._inspect(base))

    def _inspect_lora(self, candidate: Candidate) -> Member:
        """A LoRA in one file, on the base that its card names; a pinned one on the pool's, where that is not there."""
        base = self._at_commit(named, PinnedModel(repo=named.repo)) if (named := self._named_by(candidate)) else None
        if base is None and candidate.pinned is not None and self.base is not None:
            base = self.base.candidate
        if base is None and not candidate.base_models:
            raise Unfit("its card names no base (base_model)")
        if base is None:
            raise Unfit(f"its base {plain(candidate.base_models[0])[:96]} cannot be seen on the Hub")
        self._check_rules(candidate, base)
        whole = self._inspect(base)
        adapter, changes = inspect_lora(self.hub, candidate, whole.config, whole.headers)
        return replace(whole, candidate=candidate, adaptation=Adaptation(whole.remotes[0], adapter, changes))

    def _named_by(self, candidate: Candidate) -> Candidate | None:
        return next((found for name in candidate.base_models if (found := self.look_up(name))), None)

    def _check_rules(self, candidate: Candidate, base: Candidate) -> None:
        """Raise Unfit for a base that may not be used; whoever pins an adapter has chosen its base too."""
        is_pools = self.base is not None and base.repo == self.base.repo
        judged = replace(base, pinned=candidate.pinned)
        if reason := first_refusal(judged, self.watchlist, self.now, MODEL if is_pools else ADAPTED_BASE):
            raise Unfit(f"its base {base.repo}: {reason}")

    def _at_commit(self, named: Candidate, reference: PinnedModel) -> Candidate:
        """The base at the commit that an adapter names; else at the pool's, or the newest."""
        known = self.known.get(named.repo)
        if known is not None and reference.revision in (None, known.sha):
            return known
        try:
            written = reference.revision
            found = query_source(self.hub, named.repo, written) if written else read_index(self.hub, named)
            if reference.revision is None and self.watchlist.watch.pickles == "convert":
                found = prefer_conversion(self.hub, found)
        except (HubNotFound, HubForbidden, HubRefused) as error:
            raise Unfit(f"its base {error!s}") from error
        known = self.known.setdefault(found.repo, found)
        if known.sha != found.sha:
            names = f"its settings name {found.repo} at {found.sha[:12]}"
            raise Unfit(f"{names}, which the pool has at {known.sha[:12]}: a pool has a repo at one commit")
        return known

    def _inspect(self, base: Candidate) -> Member:
        if self.base is not None and base.repo == self.base.repo:
            return self.base
        if base.repo not in self._inspected:
            try:
                self._inspected[base.repo] = inspect_source(self.hub, base)
            except Unfit as error:
                self._inspected[base.repo] = error
        found = self._inspected[base.repo]
        if isinstance(found, Unfit):
            raise Unfit(f"its base {base.repo}: {found}")
        return found
