"""An upgrade in a process of its own, which dies by SIGKILL at one boundary between its steps.

``python -m tests.killed_upgrade STAGE CONTAINER ARGUMENT...``: the arguments are those of
maintain.py.
"""

from __future__ import annotations

import sys
from typing import Any

from tasks.command import maintain_command
from tasks.lxd_api.api import LxdApi
from tasks.maintenance.service import Service
from tasks.maintenance.upgrade import way_back
from tasks.maintenance.upgrade.snapshot import Snapshot
from tests.killed import Boundary, die_at


def _is_service_of(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0].container.name == container)


def _is_snapshot_of(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0]._name == container)


def _is_machine(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0].name == container)


def _puts_back(container: str, arguments: tuple[Any, ...]) -> bool:
    return arguments[1] == f"/1.0/instances/{container}" and "restore" in arguments[2]


#: Of one that goes well, in their order.
GOOD = {
    "marked": Boundary(Snapshot, "remember", meant=_is_snapshot_of),
    "drained": Boundary(Service, "drain", meant=_is_service_of),
    "shut down": Boundary(Snapshot, "_shut_down", meant=_is_snapshot_of),
    "snapshot taken": Boundary(Snapshot, "start", after=False, meant=_is_snapshot_of),
    "running again": Boundary(Snapshot, "take", meant=_is_snapshot_of),
    "upgraded": Boundary(way_back, "upgraded", meant=_is_machine),
    "found well": Boundary(Snapshot, "end", after=False, meant=_is_snapshot_of),
    "snapshot let go": Boundary(Snapshot, "end", meant=_is_snapshot_of),
    "undrained": Boundary(Service, "undrain", meant=_is_service_of),
}
#: And of one that does not, from where it differs.
BAD = {
    "going back decided": Boundary(Snapshot, "decide_to_go_back", meant=_is_snapshot_of),
    "stopped to go back": Boundary(LxdApi, "put", after=False, meant=_puts_back),
    "put back": Boundary(LxdApi, "put", meant=_puts_back),
    "back, to be ended": Boundary(Snapshot, "end", after=False, meant=_is_snapshot_of),
    "back, its snapshot let go": Boundary(Snapshot, "end", meant=_is_snapshot_of),
    "back and undrained": Boundary(Service, "undrain", meant=_is_service_of),
}


if __name__ == "__main__":
    name, of, *options = sys.argv[1:]
    die_at({**GOOD, **BAD}[name], of)
    sys.exit(maintain_command(options))
