"""Carrying out a container's steps through LXD's API, each with a deadline of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tasks.actual import Json
from tasks.containers.step import ContainerWrite
from tasks.errors import DeadlineError, LxdError, LxdNotFoundError
from tasks.ownership import unmarked
from tasks.plan import Step

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

#: Seconds for unpacking an image into a new container; several do it at once on one disk.
CREATE_DEADLINE = 600.0
START_DEADLINE = 120.0
#: Seconds that a container gets to shut down by itself.
STOP_TIMEOUT = 60
#: Seconds for what an earlier run left LXD to do.
UNFINISHED_DEADLINE = 300.0
#: Seconds of one request that waits for it, less than the API's own time-out.
WAIT_SLICE = 30
#: What a PUT of an instance holds (LXD 5.0, ``InstancePut``).
INSTANCE_PUT = (
    "architecture",
    "config",
    "description",
    "devices",
    "ephemeral",
    "profiles",
    "stateful",
)


def apply_steps(api: LxdApi, steps: Iterable[Step[ContainerWrite]], *, force: bool = False) -> None:
    """Carry out the steps of a container in order; the first that fails ends it.

    Arguments:
        api: of the container's LXD host.
        steps: what :func:`~tasks.containers.plan.plan_container` or ``plan_departed`` found.
        force: stop hard what does not shut down by itself.
    """
    for write in (step.write for step in steps):
        if write.action == "create":
            create(api, write)
        elif write.action == "update":
            update(api, write)
        elif write.action == "retire":
            retire(api, write.container, write.rename)
        elif write.action == "stop":
            stop(api, write.container, force=force)
        else:
            change_state(api, write.container, write.action)


def create(api: LxdApi, write: ContainerWrite) -> None:
    """Create a stopped container from an image that the host has."""
    body = {
        "name": write.container,
        "type": "container",
        "source": {"type": "image", "alias": write.image},
        "profiles": list(write.profiles or ()),
        "config": dict(write.config),
        "devices": {device: dict(keys) for device, keys in write.devices.items()},
    }
    api.post("/1.0/instances", body, deadline=CREATE_DEADLINE)


def update(api: LxdApi, write: ContainerWrite) -> None:
    """Set what differs, take out what shall go, leave the rest as LXD has it at that moment."""

    def change(current: dict[str, Any]) -> dict[str, Any]:
        body = {key: current[key] for key in INSTANCE_PUT if key in current}
        for part, now, gone in (
            ("config", write.config, write.without_config),
            ("devices", write.devices, write.without_devices),
        ):
            whole = {**(current.get(part) or {}), **now}
            body[part] = {key: value for key, value in whole.items() if key not in gone}
        if write.profiles is not None:
            body["profiles"] = list(write.profiles)
        return body

    api.update(f"/1.0/instances/{write.container}", change, deadline=START_DEADLINE)


def change_state(api: LxdApi, name: str, action: str) -> None:
    """Start or unfreeze a container."""
    try:
        _put_state(api, name, {"action": action}, START_DEADLINE)
    except LxdError as error:
        if "already running" in error.what:
            return  # someone else was faster, which is what was wanted
        raise LxdError(
            f"it does not {action}: {error.what}",
            where=error.where,
            remedy=f"look at: lxc info {name} --show-log",
        ) from error


def stop(api: LxdApi, name: str, *, force: bool = False) -> None:
    """Shut a container down gracefully. One that does not obey keeps running, which is an error;
    with ``force`` it is stopped hard then."""
    try:
        _put_state(api, name, {"action": "stop", "timeout": STOP_TIMEOUT}, STOP_TIMEOUT + 15.0)
    except LxdError as error:
        if "already stopped" in error.what:
            return
        if not force:
            raise LxdError(
                f"it does not shut down within {STOP_TIMEOUT} s: {error.what}",
                where=error.where,
                remedy="look inside, or run again with --force, which then stops it hard",
            ) from error
        _put_state(api, name, {"action": "stop", "force": True}, START_DEADLINE)


def restart(api: LxdApi, name: str, *, force: bool = False) -> None:
    """Shut a container down, as :func:`stop` does, and start it; as one request where that is
    graceful, so that LXD starts it whatever happens here."""
    body = {"action": "restart", "timeout": STOP_TIMEOUT}
    try:
        _put_state(api, name, body, STOP_TIMEOUT + START_DEADLINE)
    except LxdError as error:
        if not force:
            raise LxdError(
                f"it does not restart: {error.what}",
                where=error.where,
                remedy="look inside, or run again with --force, which then stops it hard",
            ) from error
        _put_state(api, name, {"action": "restart", "force": True}, START_DEADLINE)


def retire(api: LxdApi, name: str, new: str) -> None:
    """Rename a stopped container and let go of it: no mark, no start with the host, and no MAC,
    which LXD lets only one instance of a network have."""

    def change(current: dict[str, Any]) -> dict[str, Any]:
        body = {key: current[key] for key in INSTANCE_PUT if key in current}
        kept = unmarked(current["config"]).items()
        body["config"] = {
            **{key: value for key, value in kept if not key.endswith(".hwaddr")},
            "boot.autostart": "false",
        }
        body["devices"] = {
            name: {key: value for key, value in device.items() if key != "hwaddr"}
            for name, device in current["devices"].items()
        }
        return body

    if new != name:
        api.post(f"/1.0/instances/{name}", {"name": new}, deadline=START_DEADLINE)
    api.update(f"/1.0/instances/{new}", change, deadline=START_DEADLINE)


def is_unfinished(error: LxdError) -> bool:
    """Whether LXD refused because it is still at work on the container, or has just made it."""
    return "already exists" in error.what or "is busy running a" in error.what


def wait_until_idle(api: LxdApi, name: str) -> Json:
    """Wait for what LXD is doing with a container by itself, and return the instance.

    A run that is killed does not end LXD's operations: the next one finds them under way. Whether
    they succeed is seen from the instance. Raises :class:`~tasks.errors.DeadlineError` where one
    takes longer than ``UNFINISHED_DEADLINE``.
    """
    until = time.monotonic() + UNFINISHED_DEADLINE
    while operation := _operation_on(api, name):
        left = until - time.monotonic()
        if left <= 0:
            raise DeadlineError(
                f"LXD is still busy with it ({operation['description']}), begun by an earlier run",
                remedy="run again later, or look at: lxc operation list",
            )
        seconds = max(1, min(WAIT_SLICE, int(left)))
        with suppress(LxdNotFoundError):  # it has just ended
            api.get(f"/1.0/operations/{operation['id']}/wait?timeout={seconds}")
    instance, _ = api.get(f"/1.0/instances/{name}")
    document: Json = instance
    return document


def _operation_on(api: LxdApi, name: str) -> Json | None:
    """A running operation of LXD on a container."""
    operations, _ = api.get("/1.0/operations?recursion=1")
    for operation in (operations or {}).get("running", []):
        paths = (operation.get("resources") or {}).get("instances") or []
        if any(path.split("?")[0].endswith(f"/{name}") for path in paths):
            found: Json = operation
            return found
    return None


def _put_state(api: LxdApi, name: str, body: dict[str, Any], deadline: float) -> None:
    api.put(f"/1.0/instances/{name}/state", {"force": False, **body}, deadline=deadline)
