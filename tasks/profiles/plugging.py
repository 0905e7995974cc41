"""Plugging a NIC that a profile gives into a running container, and unplugging one.

LXD plugs a NIC in only when the device changes. A key of ours on it, which means nothing to LXD,
is such a change (5.0, device_config.Validate takes any ``user.*``; nic_bridged.go has none of them
among what it changes in place): the NIC is given to the instance itself with that key and taken
back. An override ``type: none`` would do it too, and could not be taken back from an instance that
refuses the NIC; this one is refused itself then, and nothing of it stays. The NICs' names remain
the same, so that the instance keeps its instance-id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.errors import LxdError, LxdNotFoundError, LxdUnreachableError
from tasks.instances import is_live
from tasks.onhost import on_host
from tasks.profiles.nics import PLUGGING_KEY
from tasks.profiles.writes import NicWrite

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi
    from tasks.shell import Shell

#: Seconds that LXD may take to plug one NIC in.
DEADLINE = 60.0


def plug(api: LxdApi, write: NicWrite) -> None:
    """Plug in a NIC that the instance's profiles give; one in another bridge is unplugged first.

    Nothing is done where someone else was faster, or where the instance was just starting when
    it was read. Raises :class:`LxdError` with LXD's own reason where the instance refuses it.
    """

    def override(current: dict[str, Any]) -> dict[str, Any]:
        own, given = current["devices"] or {}, current["expanded_devices"] or {}
        link = current["config"].get(f"volatile.{write.nic}.host_name", "")
        if write.nic in own or write.nic not in given or link != write.link or not is_live(current):
            return current
        if write.method == "plug" and link and _is_there(api, write):
            return current
        device = {**given[write.nic], PLUGGING_KEY: "plugging in"}
        return {**current, "devices": {**own, write.nic: device}}

    def inherit(current: dict[str, Any]) -> dict[str, Any]:
        own = current["devices"] or {}
        if PLUGGING_KEY not in own.get(write.nic, {}):
            return current
        return {**current, "devices": {n: d for n, d in own.items() if n != write.nic}}

    try:
        for change in (override, inherit):
            api.update(write.instance.path(), change, deadline=DEADLINE)
    except LxdNotFoundError:
        return  # the instance was deleted meanwhile, and its NICs with it
    except LxdUnreachableError:
        raise
    except LxdError as error:
        raise LxdError(
            f"it cannot be plugged in: {error.what}",
            where=error.where,
            remedy=f"see whether its name is taken inside (lxc exec {write.instance.instance} -- "
            "ip link) and whether its bridge is there; every run tries again",
        ) from error


def _is_there(api: LxdApi, write: NicWrite) -> bool:
    """Whether the host has a NIC's end after all: the links were not read in the same moment."""
    state, _ = api.get(write.instance.path("/state"))
    return any(nic.get("host_name") == write.link for nic in (state["network"] or {}).values())


def unplug(shell: Shell, write: NicWrite) -> None:
    """Unplug a NIC that nothing gives any more: LXD, which has no such device, cannot.

    Raises :class:`~tasks.errors.CommandError` where the host refuses it.
    """
    done = shell.run(on_host("unplug_nic", write.link), deadline=DEADLINE)
    done.check(shell.where, f"unplugging {write.nic} of {write.instance}")
