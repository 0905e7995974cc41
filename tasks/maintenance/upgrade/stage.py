"""How far an upgrade with a way back has come, as the container itself says.

So a run that is killed is finished by the next one, from whatever controller:

- the config key ``UPGRADING``, from before it is drained until it has its work again. It is in the
  snapshot as well, and so comes back with it. It names the snapshot, so that no other one is taken
  for it, and says once the container is back as it was;
- the snapshot ``fleet-upgrade-...``, from when there is something to go back to;
- ``fleet-restore-...``, the snapshot's name from when going back is decided. What is decided ends
  with that name: a snapshot that is kept is one like all others, ``fleet-...``.

What went wrong is remembered in the config key ``REFUSED``, and is not tried again by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Literal

from tasks.actual import Json
from tasks.containers.remembered import words_of
from tasks.maintenance.moments import PREFIX, taken_at
from tasks.ownership import CREATED_KEY

#: The instance's name, when the snapshot is taken, as its name has it, ``back`` once the container
#: is as it was (``-`` before), and the versions that it is upgraded to.
UPGRADING = f"{CREATED_KEY}.upgrading"
#: The instance's name, and the versions that did not go well together.
REFUSED = f"{CREATED_KEY}.upgrade-refused"
#: How the snapshot is called while there may be a way back to go, and once that is decided.
UNDER_WAY = f"{PREFIX}upgrade-"
GOING_BACK = f"{PREFIX}restore-"
BACK, FORTH = "back", "-"
#: A later run goes back only so far by itself: the container may have been in service since.
NOT_LONGER_THAN = timedelta(hours=1)

#: What a run has to do first: nothing, since no upgrade is under way; give the container its work
#: again, since there is nothing to go back to; finish the upgrade; go back; end it, since it is
#: back; or keep it as it is, since going back now would lose what has been written.
Next = Literal["nothing", "give its work again", "finish", "go back", "end", "keep"]


def is_upgrading(instance: Json) -> bool:
    """Whether an upgrade of an instance was begun and has not ended."""
    return bool(words_of(instance, UPGRADING))


def versions_under_way(instance: Json) -> tuple[str, ...]:
    """The versions that an instance is upgraded to; none where it is not."""
    return tuple(words_of(instance, UPGRADING)[2:])


def was_refused(instance: Json, versions: Collection[str]) -> bool:
    """Whether versions that did not go well in this instance before are all among these."""
    refused = words_of(instance, REFUSED)
    return bool(refused) and set(refused) <= set(versions)


def stamp_of(snapshot: str) -> str:
    """When a snapshot was taken, as all of its names have it."""
    return kept_name(snapshot).removeprefix(PREFIX)


def snapshot_under_way(instance: Json, snapshots: Collection[str]) -> str:
    """The snapshot of its upgrade that has not ended; empty where there is none."""
    stamps = words_of(instance, UPGRADING)[:1]
    ours = {prefix + stamp for prefix in (UNDER_WAY, GOING_BACK) for stamp in stamps}
    return next((name for name in snapshots if name in ours), "")


def next_of(instance: Json, snapshot: str, now: datetime) -> Next:
    """What a run that finds an instance so has to do first; ``snapshot`` is the one under way."""
    if not is_upgrading(instance):
        return "nothing"
    if not snapshot:
        return "give its work again"
    if snapshot.startswith(UNDER_WAY):
        return "finish"
    if BACK in words_of(instance, UPGRADING)[1:2]:
        return "end"
    return "go back" if is_recent(snapshot, now) else "keep"


def is_recent(snapshot: str, now: datetime) -> bool:
    """Whether little can have been written since a snapshot was taken."""
    taken = taken_at(kept_name(snapshot))
    return taken is not None and now - taken <= NOT_LONGER_THAN


def kept_name(snapshot: str) -> str:
    """The name of the snapshot of an upgrade once all is decided."""
    return PREFIX + snapshot.removeprefix(UNDER_WAY).removeprefix(GOING_BACK).removeprefix(PREFIX)


def decided(snapshot: str) -> str:
    """Its name once going back is decided."""
    return GOING_BACK + kept_name(snapshot).removeprefix(PREFIX)
