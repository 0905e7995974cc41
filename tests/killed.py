"""A provision in a process of its own, which dies by SIGKILL at one boundary between its steps.

``python -m tests.killed STAGE CONTAINER ARGUMENT...``: the arguments are those of provision.py. At
the stages of a container it dies when that one gets there, wherever the others are then.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.bootstrap import task as bootstrap
from tasks.command import provision_command
from tasks.configure import task as configure
from tasks.containers import writes
from tasks.lxd_api import api

#: Whether a call of the product's function, by its arguments, is the one that is meant.
Meant = Callable[[str, tuple[Any, ...]], bool]


@dataclass(frozen=True)
class Boundary:
    """One of the product's own functions, before or after which the process dies."""

    place: Any
    function: str
    after: bool = True
    meant: Meant = lambda container, arguments: True


def _follows(method: str, path: str) -> Meant:
    """What LXD has begun, and the run is about to wait for."""
    return lambda container, arguments: arguments[2] == f"{method} {path.format(container)}"


def _writes(container: str, arguments: tuple[Any, ...]) -> bool:
    return container in (getattr(arguments[1], "container", ""), arguments[1])


def _shell_of(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0].where == container)


def _bootstrap_of(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0].container.name == container)


_BOOTSTRAP = bootstrap._ContainerBootstrap
#: In the order in which a provision comes to them: from the end of one to the beginning of the next
#: it only reads.
STAGES = {
    "image to be sent": Boundary(api.LxdApi, "_send_image", after=False),
    "image sent": Boundary(api.LxdApi, "_send_image"),
    "alias made": Boundary(api.LxdApi, "upload_image"),
    "create begun": Boundary(api, "follow", after=False, meant=_follows("POST", "/1.0/instances")),
    "created": Boundary(writes, "create", meant=_writes),
    "start begun": Boundary(
        api, "follow", after=False, meant=_follows("PUT", "/1.0/instances/{}/state")
    ),
    "started": Boundary(writes, "change_state", meant=_writes),
    "bootstrapped": Boundary(bootstrap, "apply_calls", meant=_shell_of),
    "host key learned": Boundary(_BOOTSTRAP, "_learn", meant=_bootstrap_of),
    "SSH proven": Boundary(_BOOTSTRAP, "_over_ssh", meant=_bootstrap_of),
    "configured": Boundary(configure, "apply_calls", meant=_shell_of),
}

#: Those at which there is no image yet when the run begins, and those at which a container runs.
IMAGE_STAGES = tuple(STAGES)[:3]
INSIDE_STAGES = tuple(STAGES)[7:]


def die_at(boundary: Boundary, container: str) -> None:
    """Have this process die when it gets there."""
    function = getattr(boundary.place, boundary.function)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        meant = boundary.meant(container, arguments)
        if meant and not boundary.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(boundary.place, boundary.function, wrapped)


if __name__ == "__main__":
    die_at(STAGES[sys.argv[1]], sys.argv[2])
    sys.exit(provision_command(sys.argv[3:]))
