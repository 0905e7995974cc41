"""A provision in a process of its own, which dies by SIGKILL at one boundary between its steps.

``python -m tests.killed STAGE MACHINE ARGUMENT...``: the arguments are those of provision.py. At
the stages of a container or of an LXD host it dies when that one gets there, wherever the others
are then.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.bootstrap import task as bootstrap
from tasks.bridges.transaction import NetworkChange
from tasks.command import provision_command
from tasks.configure import task as configure
from tasks.containers import carrying, writes
from tasks.lxd_api import api
from tasks.lxd_server import task as lxd_server
from tasks.prepared import builder
from tasks.prepared import task as prepared
from tasks.profiles import task as profiles
from tasks.transport import MachineShell

#: Whether a call of the product's function, by its arguments, is the one that is meant: the machine
#: comes first.
Meant = Callable[[str, tuple[Any, ...]], bool]


@dataclass(frozen=True)
class Boundary:
    """One of the product's own functions, before or after which the process dies."""

    place: Any
    function: str
    after: bool = True
    meant: Meant = lambda machine, arguments: True


def _follows(method: str, path: str) -> Meant:
    """What LXD has begun, and the run is about to wait for."""
    return lambda container, arguments: arguments[2] == f"{method} {path.format(container)}"


def _writes(container: str, arguments: tuple[Any, ...]) -> bool:
    return container in (getattr(arguments[1], "container", ""), arguments[1])


def _shell_of(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0].where == container)


def _bootstrap_of(container: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0].container.name == container)


def _network_at(stage: str) -> Meant:
    return lambda host, arguments: arguments[0].host.name == host and arguments[1] == stage


def _on_host(host: str, arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[0].name == host)


def _script(words: str) -> Meant:
    """A script that goes to a machine's SSH, by words in its first lines."""
    return lambda machine, arguments: arguments[0].where == machine and words in arguments[1][:200]


def _of_builder(function: str, *, after: bool = True, what: str = "") -> Boundary:
    """One of those that prepare an image; ``what`` is the change inside that is meant."""
    meant: Meant = lambda machine, arguments: not what or arguments[1] == what  # noqa: E731
    return Boundary(builder, function, after=after, meant=meant)


#: LXD has begun to start, stop or restart it.
_STATE_BEGUN = Boundary(
    api, "follow", after=False, meant=_follows("PUT", "/1.0/instances/{}/state")
)

#: Of an LXD host that has nothing yet, in the order in which a provision comes to them.
HOST_STAGES = {
    "network staged": Boundary(NetworkChange, "_reached", meant=_network_at("staged")),
    "network applied": Boundary(NetworkChange, "_reached", meant=_network_at("applied")),
    "network checked": Boundary(NetworkChange, "_reached", meant=_network_at("checked")),
    "network confirmed": Boundary(NetworkChange, "_reached", meant=_network_at("confirmed")),
    "LXD set up": Boundary(lxd_server, "_apply_on_host", meant=_on_host),
    "pools made": Boundary(lxd_server, "_apply_requests", meant=_on_host),
    "remotes written": Boundary(MachineShell, "run", meant=_script("Writes remotes and trust")),
    "profile written": Boundary(profiles, "_send_profile"),
}

#: Of the host that prepares an image, and of one that copies it.
PREPARED_STAGES = {
    "builder created": _of_builder("create"),
    "builder started": _of_builder("change_state"),
    "builder bootstrapped": _of_builder("apply_calls", what="bootstrap"),
    "builder cleaned": _of_builder("_clean"),
    "builder stopped": _of_builder("stop"),
    "publish begun": Boundary(
        api, "follow", after=False, meant=lambda _, arguments: arguments[2] == "POST /1.0/images"
    ),
    "published": _of_builder("delete_builder", after=False),
    "builder deleted": _of_builder("delete_builder"),
    "prepared": Boundary(prepared, "prepare_image"),
    "copied": Boundary(prepared, "copy_image"),
}

#: Of a container that is changed in place, which waits for its restart, and of one that departed.
CHANGE_STAGES = {
    "updated": Boundary(writes, "update", meant=_writes),
    "restart begun": _STATE_BEGUN,
    "restarted": Boundary(carrying, "restart", meant=_writes),
}
DEPARTED_STAGES = {
    "stop begun": _STATE_BEGUN,
    "stopped": Boundary(writes, "stop", meant=_writes),
    "retired": Boundary(writes, "retire", meant=_writes),
}

_BOOTSTRAP = bootstrap._ContainerBootstrap
#: Of a container, and of its image: from the end of one to the beginning of the next it only reads.
STAGES = {
    "image to be sent": Boundary(api.LxdApi, "_send_image", after=False),
    "image sent": Boundary(api.LxdApi, "_send_image"),
    "alias made": Boundary(api.LxdApi, "upload_image"),
    "create begun": Boundary(api, "follow", after=False, meant=_follows("POST", "/1.0/instances")),
    "created": Boundary(writes, "create", meant=_writes),
    "start begun": _STATE_BEGUN,
    "started": Boundary(writes, "change_state", meant=_writes),
    "bootstrapped": Boundary(bootstrap, "apply_calls", meant=_shell_of),
    "host key learned": Boundary(_BOOTSTRAP, "_learn", meant=_bootstrap_of),
    "SSH proven": Boundary(_BOOTSTRAP, "_over_ssh", meant=_bootstrap_of),
    "configured": Boundary(configure, "apply_calls", meant=_shell_of),
}

#: Those at which there is no image yet when the run begins, and those at which a container runs.
IMAGE_STAGES = tuple(STAGES)[:3]
INSIDE_STAGES = tuple(STAGES)[7:]


def die_at(boundary: Boundary, machine: str) -> None:
    """Have this process die when it gets there."""
    function = getattr(boundary.place, boundary.function)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        meant = boundary.meant(machine, arguments)
        if meant and not boundary.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if meant:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(boundary.place, boundary.function, wrapped)


if __name__ == "__main__":
    stages = {**HOST_STAGES, **PREPARED_STAGES, **CHANGE_STAGES, **DEPARTED_STAGES, **STAGES}
    die_at(stages[sys.argv[1]], sys.argv[2])
    sys.exit(provision_command(sys.argv[3:]))
