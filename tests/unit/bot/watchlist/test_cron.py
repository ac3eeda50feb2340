"""Cron strings against a clock that is read minute by minute."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from bot.watchlist.schedule.cron import standard_trigger, standard_weekdays

ZONES = (
    "Africa/Cairo",  # at midnight
    "Africa/Casablanca",  # back for Ramadan
    "America/Santiago",  # forward at midnight
    "Antarctica/Troll",  # by two hours
    "Asia/Tokyo",  # never
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Berlin",
)
FIXED: dict[str, Callable[[datetime], bool]] = {
    "30 2 * * 0": lambda time: (time.hour, time.minute, time.isoweekday()) == (2, 30, 7),
    "0 0 * * 5": lambda time: (time.hour, time.minute, time.isoweekday()) == (0, 0, 5),
    "45 1,23 * * *": lambda time: time.hour in (1, 23) and time.minute == 45,
    "0-59/20 0-3 * * *": lambda time: time.hour <= 3 and time.minute % 20 == 0,
    "0 */2 * * *": lambda time: time.hour % 2 == 0 and time.minute == 0,
    "15 1,2 25 * 0": lambda time: (
        time.hour in (1, 2) and time.minute == 15 and (time.day == 25 or time.isoweekday() == 7)
    ),
}
FREQUENT: dict[str, Callable[[datetime], bool]] = {
    "0 * * * *": lambda time: time.minute == 0,
    "*/20 1-3 * * *": lambda time: time.hour in (1, 2, 3) and time.minute % 20 == 0,
    "10 0-23 * * 0,1": lambda time: time.minute == 10 and time.isoweekday() in (7, 1),
}


Days = tuple[tuple[datetime, datetime], ...]
"""Every minute (UTC) of some days, and the local time that the clock shows."""


@cache
def days_of_change(zone: str) -> tuple[Days, ...]:
    """The days of 2026 and 2027 about which the clock is put forward or back; any days if it never is."""
    start, info = datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    hours = [start + timedelta(hours=hour) for hour in range(2 * 365 * 24)]
    offsets = [hour.astimezone(info).utcoffset() for hour in hours]
    found = [hour for hour, (one, other) in zip(hours, pairwise(offsets), strict=False) if one != other] or hours[
        99:100
    ]
    return tuple(tuple(_minutes_around(change, info)) for change in found)


def _minutes_around(change: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    for number in range(52 * 60):
        moment = change + timedelta(minutes=number - 26 * 60)
        yield moment, moment.astimezone(zone).replace(tzinfo=None)


def when_first_reached(days: Days, wanted: Callable[[datetime], bool]) -> list[datetime]:
    """The minutes in which the clock first shows a wanted time, or has just jumped over one."""
    found, latest = [], days[0][1] - timedelta(minutes=1)
    for moment, time in days:
        passed = int((time - latest).total_seconds() // 60)
        if any(wanted(latest + timedelta(minutes=step + 1)) for step in range(passed)):
            found.append(moment)
        latest = max(latest, time)
    return found


def when_shown(days: Days, wanted: Callable[[datetime], bool]) -> list[datetime]:
    """The minutes in which the clock shows a wanted time."""
    return [moment for moment, time in days if wanted(time)]


def when_fired(cron: str, zone: str, days: Days) -> list[datetime]:
    """The moments at which the trigger fires in the same days, read back from a job store each time."""
    trigger, previous = standard_trigger(cron, zone), None
    fired: list[datetime] = []
    while True:
        trigger = pickle.loads(pickle.dumps(trigger))
        previous = trigger.get_next_fire_time(previous, previous or days[0][0])
        if previous is None or previous > days[-1][0]:
            return fired
        fired.append(previous.astimezone(UTC))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", FIXED)
def test_a_time_of_day_fires_once_and_right_after_a_gap_that_it_is_in(cron: str, zone: str) -> None:
    for days in days_of_change(zone):
        assert when_fired(cron, zone, days) == when_first_reached(days, FIXED[cron])


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", FREQUENT)
def test_what_fires_in_every_hour_follows_the_clock(cron: str, zone: str) -> None:
    for days in days_of_change(zone):
        assert when_fired(cron, zone, days) == when_shown(days, FREQUENT[cron])


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        ("30 2 * * 0", "Europe/Berlin", "2026-10-24", ["2026-10-25T02:30:00+02:00", "2026-11-01T02:30:00+01:00"]),
        ("30 2 * * *", "Europe/Berlin", "2027-03-28", ["2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"]),
        ("0 0 * * 5", "Africa/Cairo", "2027-04-29", ["2027-04-30T01:00:00+03:00", "2027-05-07T00:00:00+03:00"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", ["2026-10-04T02:30:00+11:00"]),
        ("45 1 4 4 *", "Australia/Lord_Howe", "2027-04-04", ["2027-04-04T01:45:00+11:00", "2028-04-04T01:45:00+10:30"]),
        (
            "0 * 25 10 *",
            "Europe/Berlin",
            "2026-10-25T02:00",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"],
        ),
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", ["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]),
    ],
)
def test_known_changes_of_the_clock(cron: str, zone: str, start: str, expected: list[str]) -> None:
    trigger, now = standard_trigger(cron, zone), datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    previous, fired = None, []
    for _ in expected:
        previous = trigger.get_next_fire_time(previous, previous or now)
        assert previous is not None
        fired.append(previous.isoformat())
    assert fired == expected


def test_the_end_of_a_gap_is_due_when_it_is_now_and_not_again() -> None:
    trigger = standard_trigger("30 2 * * *", "Europe/Berlin")
    end = datetime(2027, 3, 28, 3, tzinfo=ZoneInfo("Europe/Berlin"))
    assert trigger.get_next_fire_time(None, end) == end
    assert trigger.get_next_fire_time(end, end) == datetime(2027, 3, 29, 2, 30, tzinfo=end.tzinfo)


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("*", "*"),
        ("0", "sun"),
        ("7", "sun"),
        ("1-5", "mon,tue,wed,thu,fri"),
        ("5-7", "sun,fri,sat"),
        ("0-2", "sun,mon,tue"),
        ("fri-mon", "sun,mon,fri,sat"),
        ("*/2", "sun,tue,thu,sat"),
        ("1-5/2", "mon,wed,fri"),
        ("3/2", "wed,fri"),
        ("MON,4", "mon,thu"),
    ],
)
def test_weekdays_mean_what_cron_means_by_them(field: str, days: str) -> None:
    assert standard_weekdays(field) == days


def test_a_schedule_fires_on_cron_s_sunday_in_its_own_time_zone() -> None:
    due = standard_trigger("30 3 * * 0", "Asia/Tokyo").get_next_fire_time(None, datetime(2026, 11, 23, tzinfo=UTC))
    assert due is not None
    assert due.isoformat() == "2026-11-29T03:30:00+09:00"
    assert due.strftime("%A") == "Sunday"


def test_a_day_of_the_month_and_a_weekday_together_mean_either() -> None:
    trigger = standard_trigger("0 0 13 * 5", "UTC")
    moment, due = datetime(2026, 11, 1, tzinfo=UTC), []
    for _ in range(3):
        moment = trigger.get_next_fire_time(moment, moment)
        due.append(moment.day)
    assert due == [6, 13, 20]
