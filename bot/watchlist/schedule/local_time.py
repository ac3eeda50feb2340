"""Times of day on a clock that is put forward and back, as cron(8) treats them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:

    class BaseTrigger:
        """APScheduler ships no types; a trigger is asked for nothing but this."""

        __slots__ = ()

        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
            """The first moment after `previous_fire_time`, or from `now` on where there was none."""

else:
    from apscheduler.triggers.base import BaseTrigger

_MICROSECOND, _MINUTE, _DAY = timedelta(microseconds=1), timedelta(minutes=1), timedelta(days=1)


class LocalTimeTrigger(BaseTrigger):
    """Fires at local times.

    times: a trigger in UTC that gives the local times, as if there were no time zones.
    every_time: fire whenever the clock shows one; else once where it is shown twice, and right after a gap it is in.
    """

    __slots__ = ("every_time", "times", "timezone")

    def __init__(self, times: BaseTrigger, timezone: str, *, every_time: bool) -> None:
        self.times = times
        self.timezone = timezone
        self.every_time = every_time

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first moment after `previous_fire_time`, or from `now` on where there was none."""
        zone = ZoneInfo(self.timezone)
        # In UTC before anything is added, because adding to a local time forgets that it is the second of its kind.
        start = previous_fire_time.astimezone(UTC) + _MICROSECOND if previous_fire_time else now.astimezone(UTC)
        moment = self._next_shown(start, zone) if self.every_time else self._next_reached(start, zone)
        return None if moment is None else moment.astimezone(zone)

    def _next_shown(self, start: datetime, zone: ZoneInfo) -> datetime | None:
        """The first moment from `start` on (UTC) at which the clock shows one of the times."""
        while True:
            offset = _offset(start, zone)
            time = self.times.get_next_fire_time(None, start + offset)
            if time is None:
                return None
            # Clocks change at most once a day. Until they do, the difference to UTC stays what it is at `start`.
            end = start + _DAY if _offset(start + _DAY, zone) == offset else find_change(start, start + _DAY, zone)
            if time - offset < end:
                return time - offset
            start = end

    def _next_reached(self, start: datetime, zone: ZoneInfo) -> datetime | None:
        """The first moment from `start` on (UTC) at which the clock shows or passes one of the times as a first."""
        # Moments follow in the order of their local times, so no earlier local time can be due from `start` on. The
        # minute before, because at the end of a gap the local times in the gap are due.
        local = (start - _MINUTE).astimezone(zone).replace(tzinfo=UTC, fold=0)
        while (time := self.times.get_next_fire_time(None, local)) is not None:
            moment = first_moment(time.replace(tzinfo=None), zone)
            if moment >= start:
                return moment
            local = time + _MICROSECOND
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} ({self.times!r}, {self.timezone!r}, every_time={self.every_time})>"

    # Slots have no dictionary that pickle could store.
    def __getstate__(self) -> tuple[BaseTrigger, str, bool]:
        return self.times, self.timezone, self.every_time

    def __setstate__(self, state: tuple[BaseTrigger, str, bool]) -> None:
        self.times, self.timezone, self.every_time = state


def first_moment(time: datetime, zone: ZoneInfo) -> datetime:
    """The moment (UTC) at which clocks in a zone first show a local time (naive), or the end of the gap it is in."""
    moment = time.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == time:
        return moment
    # In a gap, fold 0 means the difference to UTC before it and fold 1 the one after it, which is larger.
    return find_change(time.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone)


def find_change(early: datetime, late: datetime, zone: ZoneInfo) -> datetime:
    """The moment (UTC) between two at which a zone's difference to UTC changes; it does so once."""
    before = _offset(early, zone)
    while late - early > _MICROSECOND:
        middle = early + (late - early) // 2
        if _offset(middle, zone) == before:
            early = middle
        else:
            late = middle
    return late


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)
