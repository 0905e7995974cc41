"""Moments as names: of snapshots, of backups. Always in UTC, ``20261124T030000Z``."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timezone

_MOMENT = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z")


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
