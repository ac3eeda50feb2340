"""Finds the adapter that the watchlist names as the last stage of merges."""

from __future__ import annotations

from datetime import datetime

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.discovery.candidate import ADAPTER_CONFIG, Candidate
from bot.hub.discovery.listing import find_named
from bot.hub.discovery.rules import LAST_STAGE, first_refusal
from bot.hub.inspection.adapter import inspect_adapter, read_adapter_settings
from bot.hub.inspection.lora import choose_lora, inspect_lora
from bot.hub.inspection.member import Member, RemoteWeights, Unfit
from bot.watchlist.watchlist import Watchlist

_KEY = "search.last_stage"


def find_last_stage(hub: Hub, watchlist: Watchlist, whole: Member, now: datetime) -> RemoteWeights | None:
    """The adapter of the last stage; None where the watchlist names none.

    whole: a model that merges are like, on which the adapter must fit. ShoalError, with the key, for one that cannot be
    used, or that the Hub does not show.
    """
    stage = watchlist.search.last_stage
    if stage is None:
        return None
    candidate = find_named(hub, stage.adapter, f"{_KEY}.adapter")
    try:
        found = _inspect(hub, candidate, stage.adapter.file, whole)
    except Unfit as error:
        raise ShoalError(f"{_KEY}: got {candidate.repo!r}: {error}; name another adapter in the watchlist") from error
    if reason := first_refusal(found.candidate, watchlist, now, LAST_STAGE):
        raise ShoalError(f"{_KEY}: got {candidate.repo!r}: {reason}; name another adapter in the watchlist")
    return found


def _inspect(hub: Hub, candidate: Candidate, file: str | None, whole: Member) -> RemoteWeights:
    if whole.candidate.is_pipeline:
        return inspect_lora(hub, choose_lora(candidate, file), whole.config, whole.headers)[0]
    if candidate.file(ADAPTER_CONFIG) is None:
        raise Unfit(f"it has no {ADAPTER_CONFIG}: only LoRA adapters that peft saved can be added to such models")
    adaptation = inspect_adapter(hub, candidate, read_adapter_settings(hub, candidate), whole).adaptation
    assert adaptation is not None  # of an adapter
    return adaptation.adapter
