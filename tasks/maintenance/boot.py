"""Whether a machine is to be rebooted, decided purely."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tasks.actual import Json
from tasks.containers.remembered import words_of
from tasks.errors import CommandError, FleetError
from tasks.intent.model import Intent
from tasks.maintenance.upgrade.stage import is_upgrading
from tasks.ownership import CREATED_KEY
from tasks.plan import Plan, Step

#: On an instance whose work a reboot takes off it: its name, and since when.
DRAINED = f"{CREATED_KEY}.drained"


@dataclass(frozen=True)
class Boot:
    """One boot of a machine: its ``id``, why it ``needed`` another, and what is ``busy`` there."""

    id: str
    needed: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()


def parse_boot(name: str, output: str) -> Boot:
    """The lines of ``onhost/reboot_needed.sh``."""
    found: dict[str, list[str]] = {"boot": [], "needed": [], "busy": []}
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest.strip())
    if len(found["boot"]) != 1:
        raise CommandError("it does not say which boot this is", where=name)
    return Boot(found["boot"][0], tuple(found["needed"]), tuple(found["busy"]))


def plan_reboot(
    name: str, boot: Boot, obstacles: Collection[str] = (), notes: tuple[str, ...] = ()
) -> Plan[None]:
    """The one step, or the reason why there is none.

    Arguments:
        obstacles: what is in the way of a reboot, besides what is busy there.

    Raises :class:`FleetError` where it needs one and must not have it now.
    """
    if not boot.needed:
        return Plan(reason="no reboot needed", notes=notes)
    why = "; ".join(boot.needed)
    in_the_way = (*boot.busy, *obstacles)
    if in_the_way:
        raise FleetError(
            f"it needs a reboot ({why}) and is left running: {'; '.join(in_the_way)}",
            where=name,
            remedy="run again once that is over, or reboot it by hand",
        )
    return Plan((Step("reboot", f"machine {name}", None, detail=why),), notes=notes)


def interrupted(intent: Intent, name: str, running: Collection[str]) -> dict[str, list[str]]:
    """The containers that a reboot of a machine takes out of service, by ``apart`` group.

    Arguments:
        running: the instances that run on it; of a container nothing.
    """
    own = intent.containers.get(name)
    down = [own] if own else [c for c in intent.containers_on(name) if c.name in running]
    groups: dict[str, list[str]] = {}
    for container in down:
        if container.apart:
            groups.setdefault(container.apart, []).append(container.name)
    return groups


def apart_obstacles(
    intent: Intent,
    groups: Mapping[str, Sequence[str]],
    instances: Mapping[str, Mapping[str, Json]],
) -> list[str]:
    """What is in the way of a reboot because of ``apart`` groups, each in words: another one that
    should run does not, or nobody is left to do the work.

    Several of a group on one host do go down together with it, where others run elsewhere.

    Arguments:
        groups: what it interrupts, from :func:`interrupted`.
        instances: what LXD hosts have, by host; nothing of those that could not be read.
    """
    obstacles = []
    for group, names in groups.items():
        others = [c for c in intent.containers.values() if c.apart == group and c.running]
        others = [c for c in others if c.name not in names]
        if len(names) > 1 and not others:
            obstacles.append(f"it carries all of the group {group}: {', '.join(names)}")
        for other in others:
            instance = instances.get(other.on, {}).get(other.name, {})
            if instance.get("status") != "Running":
                obstacles.append(f"{other.name} of the group {group} does not run")
            elif is_upgrading(instance):
                obstacles.append(f"an upgrade of {other.name} of the group {group} has not ended")
            elif is_drained(instance):
                obstacles.append(f"{other.name} of the group {group} is drained")
    return obstacles


def is_drained(instance: Json) -> bool:
    """Whether a run took its work off an instance for a reboot, and has not given it again."""
    return bool(words_of(instance, DRAINED))


def undrain_step(container: str) -> Step[None]:
    """What is to be done first with one that is so."""
    why = "an earlier run was ended while it was drained for a reboot"
    return Step("undrain", f"container {container}", None, why)


def starts_with_host(instance: Json) -> bool:
    """Whether LXD starts an instance that runs again when its host boots: unless it is told not to
    (LXD 5.0, "Instance options", ``boot.autostart``: without it the state of before counts)."""
    config = instance.get("expanded_config") or instance.get("config") or {}
    return str(config.get("boot.autostart", "true")) != "false"
