"""Chooses the carrier: the model in which merges are built, where models have several components."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Verdict
from bot.hub.discovery.listing import LookUp
from bot.hub.inspection.member import Member
from bot.hub.inspection.mismatch import find_mismatch
from bot.hub.pool.pool import Family, NoPool
from bot.hub.resolver import ModelFiles
from bot.watchlist.load import UnfitValueError
from bot.watchlist.watchlist import Watchlist
from merging.errors import MergingError
from merging.kinds import KINDS


def choose_carrier(
    watchlist: Watchlist, members: Sequence[Member], base: Member | None, look_up: LookUp, refused: Sequence[Verdict]
) -> Member | None:
    """The carrier that a watchlist names; else the first member of its kind that fits the base, else the base itself.

    members: best first. refused: the verdicts on all other candidates. None where models have one component. A model
    that is an adapter on a base is the carrier only where no other can be it: its other components are its base's.

    Raises:
        NoPool: no model could be the carrier.
        ShoalError: the one that is named cannot be it, or the base does not fit it.
    """
    if not KINDS[watchlist.kind].other_components:
        return None
    whole = [one for one in (*members, *([base] if base else [])) if not one.is_part_of(watchlist.kind)]
    uses = watchlist.search.components
    whole.sort(key=lambda one: one.adaptation is not None)
    if watchlist.carrier != "auto":
        carrier = _find_named(watchlist.carrier.repo, whole, look_up)
        if carrier is None:
            raise carrier_error(watchlist, look_up, refused)
    else:
        if not whole:
            why = f"carrier: got 'auto': no candidate is of kind {watchlist.kind}; name or pin one"
            raise NoPool(why, tuple(refused))
        fitting = (one for one in whole if base is None or find_mismatch(one, base, components=uses) is None)
        carrier = next(fitting, whole[0])
    if base is not None and (reason := find_mismatch(carrier, base, components=uses)):
        why = f"not of the family of the carrier {carrier.repo}: {reason}"
        raise ShoalError(f"base: got {base.repo!r}: {why}; name another base in the watchlist")
    return carrier


def check_named_carrier(
    watchlist: Watchlist, left: Sequence[Member], look_up: LookUp, refused: Sequence[Verdict]
) -> None:
    """Raise ShoalError if a carrier that the watchlist names is not among the members that are left."""
    if watchlist.carrier != "auto" and _find_named(watchlist.carrier.repo, left, look_up) is None:
        raise carrier_error(watchlist, look_up, refused)


def check_picture_size(hub: Hub, watchlist: Watchlist, family: Family) -> None:
    """Raise UnfitValueError for a picture_size that the processor of a family's merges cannot take."""
    if watchlist.picture_size is None:
        return
    from merging.kinds.picture_size import with_picture_size  # with torch

    leader = family.leader.remotes[0]
    with tempfile.TemporaryDirectory(prefix="shoal-") as name:
        folder = Path(name)
        for path, content in ModelFiles(leader.ref, leader).read_small_files(hub).items():
            (folder / path).write_bytes(content)
        try:
            with with_picture_size(folder, watchlist.picture_size):
                pass
        except MergingError as error:
            where, got = ("picture_size",), str(watchlist.picture_size)
            raise UnfitValueError(where, got, f"{family.leader.repo}: {error}") from error


def carrier_error(watchlist: Watchlist, look_up: LookUp, refused: Sequence[Verdict]) -> ShoalError:
    """The error that the named carrier cannot be it, with the reason."""
    assert watchlist.carrier != "auto"
    written = watchlist.carrier.repo
    names = {written, _current_name(written, look_up)}
    reasons = (verdict.reason for verdict in refused if verdict.repo in names)
    reason = next(reasons, f"it is not of kind {watchlist.kind}")
    return ShoalError(f"carrier: got {written!r}: {reason}; name another carrier in the watchlist")


def _find_named(written: str, members: Sequence[Member], look_up: LookUp) -> Member | None:
    name = _current_name(written, look_up)
    return next((member for member in members if member.repo == name), None)


def _current_name(written: str, look_up: LookUp) -> str:
    found = look_up(written)
    return found.repo if found else written
