"""Whether a machine may be changed at a moment, and from when on it may, decided purely.

The clock on the wall decides, also in the nights in which it is put forward or back: what is left
out then is in no window, and what comes twice is in it twice.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from tasks.errors import UsageError
from tasks.intent.windows import DAY, DAYS, Calendar, Freeze

MINUTE = timedelta(minutes=1)
#: Minutes; no clock is put forward or back by more, so that so far from a window it is closed.
SHIFT = 180
#: Years; who is frozen for longer is not told when that ends.
FORESEEN = 10


def zone_of(calendar: Calendar) -> tzinfo | None:
    """The calendar's time zone, None for that of this machine.

    Raises :class:`UsageError` where the tz database here does not know it, or there is none.
    """
    if calendar.timezone is None:
        return None
    try:
        return ZoneInfo(calendar.timezone)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(
            f"the time zone {calendar.timezone} of maintenance is not known on this machine",
            remedy="install the package tzdata here",
        ) from None


def why_closed(calendar: Calendar, moment: datetime) -> str:
    """Why a machine may not be changed at a moment, and when it may; empty where it may.

    Arguments:
        moment: with its time zone, whichever.

    Raises :class:`UsageError` for a time zone that is not known here.
    """
    wall = moment.astimezone(zone_of(calendar))
    if is_open(calendar, wall):
        return ""
    freeze = _freeze_on(calendar, wall)
    reason = f"frozen from {freeze.first} to {freeze.last}" if freeze else "outside its window"
    utc = moment.astimezone(timezone.utc)
    opening = next_opening(calendar, utc.replace(second=0, microsecond=0))
    if opening is None:
        return f"{reason}, and so it stays for {FORESEEN} years"
    opens = "it may be changed from" if freeze else "which opens"
    return f"{reason}, {opens} {DAYS[opening.weekday()]} {opening:%Y-%m-%d %H:%M %Z}"


def is_open(calendar: Calendar, wall: datetime) -> bool:
    """Whether a machine may be changed when the clock of its time zone shows ``wall``."""
    if _freeze_on(calendar, wall):
        return False
    minute = wall.hour * 60 + wall.minute
    parts = _windows_on(calendar, wall.weekday())
    return not calendar.windows or any(start <= minute < end for start, end in parts)


@functools.lru_cache(maxsize=256)  # a fleet has few calendars, and many machines with each
def next_opening(calendar: Calendar, moment: datetime) -> datetime | None:
    """The first minute after a moment at which a machine may be changed, in the calendar's time
    zone; None where there is none in the years that are foreseen.

    Arguments:
        moment: a full minute, in UTC: Python counts on the clock of any other zone, not in time.
    """
    zone = zone_of(calendar)
    years = moment.year + FORESEEN
    at = moment + MINUTE
    while (wall := at.astimezone(zone)).year <= years:
        if is_open(calendar, wall):
            return wall
        at += max(MINUTE, _surely_closed(calendar, wall))
    return None


def _surely_closed(calendar: Calendar, wall: datetime) -> timedelta:
    """How long a closed one stays closed at least, so that not every minute is looked at."""
    freeze = _freeze_on(calendar, wall)
    if freeze:
        far = date(wall.year + FORESEEN, 12, 31)  # years end at 9999
        last = datetime.combine(min(freeze.last, far), time())
        return last - wall.replace(tzinfo=None) + timedelta(minutes=DAY - SHIFT)
    minute = wall.hour * 60 + wall.minute
    edges = [DAY - SHIFT]
    for start, end in _windows_on(calendar, wall.weekday()):
        if start - SHIFT <= minute < end + SHIFT:
            return MINUTE
        if minute < start:
            edges.append(start - SHIFT)
    return timedelta(minutes=min(edges) - minute)


def _freeze_on(calendar: Calendar, wall: datetime) -> Freeze | None:
    day = wall.date()
    return next((f for f in calendar.freezes if f.first <= day <= f.last), None)


def _windows_on(calendar: Calendar, weekday: int) -> Iterator[tuple[int, int]]:
    """The windows of a day, from one minute of it to before another."""
    for window in calendar.windows:
        if weekday in window.days:
            yield window.start, min(window.end, DAY)
        if window.end > DAY and (weekday - 1) % 7 in window.days:
            yield 0, window.end - DAY
