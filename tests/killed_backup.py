"""A ``maintain.py`` in a process of its own, which dies by SIGKILL at one boundary of a backup or a
restore: ``python -m tests.killed_backup STAGE CONTAINER ARGUMENT...``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from tasks.command import maintain_command
from tasks.maintenance.backups import store
from tasks.maintenance.restore import writes
from tests.killed import Boundary, die_at


def _of_store(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0]._container == container)


def _imported(_: str, arguments: tuple[Any, ...]) -> bool:
    """Whether what is written is what was imported, which has not got its name yet."""
    return "-restoring" in str(arguments[1])


def _kept(_: str, arguments: tuple[Any, ...]) -> bool:
    """Whether what is renamed goes out of the way."""
    return "-replaced-" in arguments[2]


def _of_volume(_: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[1].volume)


def _of_container(_: str, arguments: tuple[Any, ...]) -> bool:
    return not arguments[1].volume


#: In the order in which a backup comes to them. At the one that is ``under way`` LXD is at work.
BACKUP_STAGES = {
    "begun": Boundary(store.Store, "begin", meant=_of_store),
    "export under way": Boundary(store.Store, "fetch", after=False, meant=_of_store),
    "first file there": Boundary(store.Store, "fetch", meant=_of_store),
    "all files there": Boundary(store.Store, "keep", after=False, meant=_of_store),
    "kept": Boundary(store.Store, "keep", meant=_of_store),
}
#: And a restore.
RESTORE_STAGES = {
    "verified": Boundary(store.Store, "damaged", meant=_of_store),
    "import under way": Boundary(store.Store, "hand_out", after=False, meant=_of_store),
    "volume imported": Boundary(store.Store, "hand_out", meant=_of_store),
    "volume marked": Boundary(writes, "_mark_volume", meant=_imported),
    "container imported": Boundary(writes, "update", after=False, meant=_imported),
    "container marked": Boundary(writes, "update", meant=_imported),
    "to be started": Boundary(writes, "change_state", after=False),
    "started": Boundary(writes, "change_state"),
    "proven": Boundary(writes.RestoreWriter, "let_go", after=False),
    "let go": Boundary(writes.RestoreWriter, "let_go"),
}
#: And one that replaces what is there, which runs on until its import is whole.
REPLACE_STAGES = {
    "container marked": RESTORE_STAGES["container marked"],
    "retired": Boundary(writes, "retire"),
    "volume kept": Boundary(writes.RestoreWriter, "_rename", meant=_kept),
    "volume placed": Boundary(writes.RestoreWriter, "_place", meant=_of_volume),
    "container placed": Boundary(writes.RestoreWriter, "_place", meant=_of_container),
}
STAGES = {**BACKUP_STAGES, **RESTORE_STAGES, **REPLACE_STAGES}
#: Seconds that LXD has been at work when the process dies.
UNDER_WAY = 2.0


def die_during(boundary: Boundary, container: str) -> None:
    """Have this process die a while after it gets there."""
    function = getattr(boundary.place, boundary.function)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if boundary.meant(container, arguments):
            threading.Timer(UNDER_WAY, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return function(*arguments, **options)

    setattr(boundary.place, boundary.function, wrapped)


if __name__ == "__main__":
    die = die_during if "under way" in sys.argv[1] else die_at
    die(STAGES[sys.argv[1]], sys.argv[2])
    sys.exit(maintain_command(sys.argv[3:]))
