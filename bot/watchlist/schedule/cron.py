"""Cron strings with their standard meaning, as APScheduler triggers.

APScheduler numbers weekdays from Monday, and repeats or leaves out times of day where clocks are put back or forward.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_REFERENCE = datetime(2024, 1, 1, tzinfo=UTC)
"""Any fixed moment, after which a cron string must fire at some time."""
_HOURS = tuple(_REFERENCE + timedelta(hours=hour) for hour in range(24))
"""Every hour of a day."""


def _day_number(text: str) -> int:
    """0 (Sunday) to 7 (Sunday again) for a number or a name's first three letters."""
    if text.lower() in _DAYS:
        return _DAYS.index(text.lower())
    if text.isascii() and text.isdigit() and int(text) <= 7:
        return int(text)
    raise ValueError(f"weekday {text!r} is neither 0-7 (0 and 7 are Sunday) nor one of {', '.join(_DAYS)}")


def _part_days(part: str) -> range:
    """The days of one comma-separated part: `2`, `1-5`, `fri-mon`, `*/2`, `1-5/2`. Sunday may come as 7."""
    span, _, step_text = part.partition("/")
    step = int(step_text) if step_text.isascii() and step_text.isdigit() else 0
    if "/" in part and step < 1:
        raise ValueError(f"weekday step {step_text!r} is not a positive whole number")
    if span == "*":
        return range(0, 7, step or 1)
    first_text, dash, last_text = span.partition("-")
    first = _day_number(first_text)
    last = _day_number(last_text) if dash else (6 if step else first)
    if last < first:
        last += 7
    return range(first, last + 1, step or 1)


def standard_weekdays(field: str) -> str:
    """Convert a cron string's weekday field to names: `0` → `sun`, `1-3` → `mon,tue,wed`.

    Raises:
        ValueError: the field is not standard cron.
    """
    if field == "*":
        return "*"
    days = {number % 7 for part in field.split(",") for number in _part_days(part)}
    return ",".join(_DAYS[number] for number in sorted(days))


def standard_trigger(cron: str, timezone: str) -> BaseTrigger:
    """The trigger for a five-field cron string in an IANA time zone.

    Where day of month and weekday are both restricted, either one fires, as crontab(5) has it. Where clocks are put
    forward or back, times of day follow cron(8): one that comes twice fires once, and one that is skipped fires right
    after the gap. What fires in every hour, or is given by `*` minutes, just follows the clock.

    Raises:
        ValueError: the string is wrong, or never fires (31 February).
        zoneinfo.ZoneInfoNotFoundError: the time zone does not exist.
    """
    from apscheduler.triggers.combining import OrTrigger
    from apscheduler.triggers.cron import CronTrigger

    from bot.watchlist.schedule.local_time import LocalTimeTrigger

    ZoneInfo(timezone)
    fields = cron.split()
    if cron in _NAMES:
        raise ValueError(f"is a short form of {_NAMES[cron]}")
    if len(fields) != 5:
        raise ValueError(f"{len(fields)} fields where cron has 5 (minute hour day month weekday)")
    minute, hour, day, month, weekday = fields
    weekday = standard_weekdays(weekday)
    every_hour = CronTrigger(hour=hour, timezone=UTC)
    every_time = minute.startswith("*") or all(
        every_hour.get_next_fire_time(None, moment) == moment for moment in _HOURS
    )

    def trigger(day: str, weekday: str) -> CronTrigger:
        return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=UTC)

    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    times = OrTrigger([trigger(day, "*"), trigger("*", weekday)]) if either else trigger(day, weekday)
    if times.get_next_fire_time(None, _REFERENCE) is None:
        raise ValueError("its time never comes")
    return LocalTimeTrigger(times, timezone, every_time=every_time)
