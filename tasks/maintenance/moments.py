"""Moments as names: of snapshots, of backups. Always in UTC, ``20261124T030000Z``."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timezone

_MOMENT = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
#: How the names of our snapshots begin; what follows is when they were taken.
PREFIX = "fleet-"


def clock() -> datetime:
    """The present moment."""
    return datetime.now(timezone.utc)


def moment_name(moment: datetime) -> str:
    """The name of what is made at that moment."""
    return moment.astimezone(timezone.utc).strftime(_MOMENT)


def made_at(name: str) -> datetime | None:
    """When what has this name was made; None for a name that is no moment."""
    if not _NAME.fullmatch(name):
        return None
    with suppress(ValueError):
        return datetime.strptime(name, _MOMENT).replace(tzinfo=timezone.utc)
    return None


def snapshot_name(moment: datetime, prefix: str = PREFIX) -> str:
    """The name of a snapshot that is taken at that moment."""
    return prefix + moment_name(moment)


def taken_at(name: str) -> datetime | None:
    """When a snapshot of ours was taken, by its name; None for anyone else's."""
    return made_at(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
