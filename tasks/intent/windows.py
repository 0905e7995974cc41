"""When maintenance may begin to change a machine, as the inventory writes it: windows, freezes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

#: As date.weekday() counts them.
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Minutes.
DAY = 24 * 60

_DAY = rf"({'|'.join(DAYS)})"
_DAY_LIST = rf"{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)*"
_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
_WINDOW = re.compile(rf"((?P<days>{_DAY_LIST}) )?(?P<start>{_CLOCK})-(?P<end>{_CLOCK}|24:00)")
_FREEZE = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?")


@dataclass(frozen=True)
class Window:
    """A time of the week.

    ``days`` are those on which it begins (Monday is 0), ``start`` and ``end`` minutes from the
    midnight before; ``end``, which is no longer in it, is past ``DAY`` where it passes midnight.
    """

    days: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True)
class Freeze:
    """Days on which nothing is changed: ``first``, ``last`` and all between."""

    first: date
    last: date


@dataclass(frozen=True)
class Calendar:
    """When maintenance may begin to change a machine: in a window, or always where there is none,
    but on no day of a freeze.

    ``timezone`` is the name in the tz database of the one whose clock and days count; None is that
    of the machine that the run is on.
    """

    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    timezone: str | None = None


def window_of(text: str) -> Window:
    """A window: ``DAYS HH:MM-HH:MM``, or without the days for each of them.

    Days are ``mon``, ``mon-fri``, ``sat,sun``. An end at or before the start is on the next day;
    one that is the same would leave open whether it is all day or nothing. Raises ValueError.
    """
    found = _WINDOW.fullmatch(text)
    if not found or found["start"] == found["end"]:
        raise ValueError(text)
    start, end = _minutes(found["start"]), _minutes(found["end"])
    days = found["days"] or "mon-sun"
    return Window(
        frozenset(day for part in days.split(",") for day in _days(part)),
        start,
        end if end > start else end + DAY,
    )


def freeze_of(text: str) -> Freeze:
    """A freeze: ``YYYY-MM-DD..YYYY-MM-DD``, or one day. Raises ValueError."""
    found = _FREEZE.fullmatch(text)
    if not found:
        raise ValueError(text)
    first = date.fromisoformat(found[1])
    last = date.fromisoformat(found[2] or found[1])
    if last < first:
        raise ValueError(text)
    return Freeze(first, last)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _days(part: str) -> list[int]:
    """The days of ``fri`` or ``fri-mon``."""
    first, _, last = part.partition("-")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
