"""Whether running containers really have the NICs that our profiles give them.

LXD saves a changed profile before it carries the change into the instances, and where one of them
refuses it the profile is as wanted all the same (5.0, profiles_utils.go, doProfileUpdate). What is
left undone shows only on the NICs themselves.

A NIC of a container's own is no matter of ours: LXD saves a change of an instance only when it
was carried out, so that the phase containers sees it again. A NIC whose bridge the inventory
declares is put back into it by the phase bridges, which need not unplug it for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from tasks.actual import HostFacts, Json
from tasks.instances import (
    InstanceName,
    expanded,
    giver_of,
    instances_of,
    is_bridged,
    is_live,
    plugged_nics,
    plugs_anew,
    users_of,
)
from tasks.intent.model import LxdHost
from tasks.plan import Step, text_diff
from tasks.profiles.writes import NicWrite, Write

#: A key on a NIC that is being plugged in: an override of ours, there for a moment only.
PLUGGING_KEY = "user.nornir-lxd-fleet.plugging"


def nics_to_unplug(host: LxdHost, facts: HostFacts) -> Iterator[Step[Write]]:
    """NICs that are plugged in and that nothing gives any more.

    Only of containers whose profiles are all ours: elsewhere nobody can tell whose NIC it was.
    """
    for name, instance in _ours(host, facts):
        if not set(instance.get("profiles") or ()) <= set(host.profiles):
            continue
        for nic, link in plugged_nics(instance).items():
            found = facts.links.get(link)
            if nic in (instance.get("expanded_devices") or {}) or not found or found.kind != "veth":
                continue
            yield _step(
                NicWrite("unplug", name, nic, link),
                "no profile gives it any more, and it is still plugged in",
                f"plugged into {found.master or 'nothing'}",
                "",
            )


def nics_to_plug(
    host: LxdHost, facts: HostFacts, after: Mapping[str, Json]
) -> Iterator[Step[Write]]:
    """NICs that our profiles give and that are not plugged in, or into another bridge.

    Arguments:
        after: the profiles as they will be by then; what their change plugs in is left out.
    """
    for name, instance in _ours(host, facts):
        later = expanded(instance, after).devices
        plugged = plugged_nics(instance)
        for nic, device in sorted((instance.get("expanded_devices") or {}).items()):
            giver = giver_of(instance, nic, facts.lxd.profiles)
            stays = nic in later and not plugs_anew(device, later[nic])
            if not (giver in host.profiles and is_bridged(device) and stays):
                continue
            link, wanted = plugged.get(nic, ""), str(device.get("parent"))
            method: Literal["plug", "replug"] = "plug"
            if link not in facts.links:
                now, why = "", f"profile {giver} gives it, and it is not plugged in"
            elif _is_elsewhere(host, facts, link, wanted):
                method = "replug"
                now = f"plugged into {facts.links[link].master or 'nothing'}"
                why = f"{now}, profile {giver} says {wanted}"
            else:
                continue
            write = NicWrite(method, name, nic, link)
            yield _step(write, why, now, f"plugged into {wanted}")


def nics_being_plugged(facts: HostFacts) -> Iterator[Step[Write]]:
    """NICs that an earlier run was plugging in when it was broken off, whatever became of their
    instance since: its override would hide what the profiles say."""
    for name, instance in sorted(instances_of(facts.lxd).items()):
        for nic, device in sorted((instance.get("devices") or {}).items()):
            if PLUGGING_KEY in device:
                link = plugged_nics(instance).get(nic, "")
                yield _step(
                    NicWrite("plug", name, nic, link),
                    "an earlier run was broken off at it",
                    "being plugged in",
                    f"plugged into {device.get('parent')}",
                )


def _ours(host: LxdHost, facts: HostFacts) -> Iterator[tuple[InstanceName, Json]]:
    """The live containers that use a profile of ours."""
    users = {
        user for name in host.profiles for user in users_of(facts.lxd.profiles.get(name) or {})
    }
    for name, instance in sorted(instances_of(facts.lxd).items()):
        if name in users and is_live(instance) and instance.get("type") == "container":
            yield name, instance


def _is_elsewhere(host: LxdHost, facts: HostFacts, link: str, wanted: str) -> bool:
    """Whether a NIC is in another bridge than its own, which is there and is no one's business
    but LXD's; an Open vSwitch is no link that shows its ports."""
    bridge = facts.links.get(wanted)
    if bridge is None or bridge.kind != "bridge" or wanted in {b.name for b in host.bridges}:
        return False
    return facts.links[link].master != wanted


def _step(write: NicWrite, detail: str, now: str, wanted: str) -> Step[Write]:
    what = f"NIC {write.nic} of {write.instance}"
    return Step(write.method, what, write, detail, text_diff(now, wanted, what))
