"""The time zones that there are, as this machine's tz database (or the package tzdata) has them."""

from __future__ import annotations

import functools
import zoneinfo


@functools.cache
def is_time_zone(name: str) -> bool:
    """Whether there is a time zone of this name; every one is taken where nothing is known."""
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):  # a folder of zones is none
        return not time_zones()
    return True


@functools.cache
def time_zones() -> frozenset[str]:
    """The names of all of them; it takes its time to find them."""
    return frozenset(zoneinfo.available_timezones())
