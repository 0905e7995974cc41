"""The keys of ``maintenance`` in an inventory, and the names of its jobs."""

from __future__ import annotations

from tasks.intent.scalars import (
    BOOLEAN,
    FREEZE,
    HOST_NAME,
    LINE,
    SECONDS,
    TIME_ZONE,
    WINDOW,
    choice,
    integer,
    matching,
)
from tasks.intent.values import Either, ListOf, OneOrMore, OrNull, Table

_RETENTION = Table(
    {
        "last": integer(1, 10000, "how many of the newest"),
        "daily": integer(0, 10000, "a number of days"),
        "weekly": integer(0, 10000, "a number of weeks"),
    }
)
_COMMAND = Table({"run": LINE, "seconds": SECONDS})

#: What cron may have ``maintain`` do, as :data:`tasks.maintenance.jobs.JOBS` has it.
JOBS = (
    "snapshot",
    "backup",
    "upgrade",
    "reboot",
    "prune-snapshots",
    "images",
    "health",
    "certificates",
    "drift",
)

MAINTENANCE = Table(
    {
        "batch": integer(1, 1000, "a number of machines"),
        "canary": BOOLEAN,
        "deadline": SECONDS,
        "upgrade": Table(
            {
                "kind": choice("upgrade", "dist-upgrade", "security"),
                "hold": ListOf(
                    matching(r"[a-z0-9*?][a-z0-9+.*?-]*", "a package's name, or a glob")
                ),
                "way_back": BOOLEAN,
            }
        ),
        "drain": OrNull(Either(mapping=_COMMAND, other=LINE)),
        "undrain": OrNull(Either(mapping=_COMMAND, other=LINE)),
        "snapshots": OrNull(_RETENTION),
        "backup": OrNull(Table({"to": HOST_NAME, "keep": OrNull(_RETENTION), "deadline": SECONDS})),
        "certificates": integer(1, 365, "a number of days"),
        "failures": OrNull(integer(1, 1000, "a number of machines")),
        "window": OrNull(OneOrMore(WINDOW)),
        "freezes": ListOf(FREEZE),
        "timezone": TIME_ZONE,
    }
)
