"""The same profile on several LXD hosts: where it is the same, where and how it differs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tasks.actual import HostFacts, Json
from tasks.intent.model import Intent
from tasks.plan import as_yaml
from tasks.profiles.plan import normal_form, wanted_form

INVENTORY = "the inventory"


@dataclass(frozen=True)
class ProfileComparison:
    """One profile over all hosts that answered.

    ``against`` is what it is held against: the inventory where that declares it, else the first
    host that has it. ``same`` and ``differing`` are the hosts that have it so and otherwise,
    ``missing`` those that declare it and have none; ``diffs`` are unified diffs by differing host,
    from what is there to what it is held against.
    """

    name: str
    against: str
    same: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    diffs: Mapping[str, str] = field(default_factory=dict)


def compare_across(intent: Intent, facts: Mapping[str, HostFacts]) -> tuple[ProfileComparison, ...]:
    """Hold every profile that a host declares or has against the same one elsewhere.

    Arguments:
        facts: what was read, by host; one whose LXD is not there or does not answer is left out.
    """
    profiles = {name: read.lxd.profiles for name, read in facts.items() if read.lxd.running}
    declared = [p for host in profiles for p in intent.lxd_hosts[host].profiles]
    names = dict.fromkeys([*declared, *(p for there in profiles.values() for p in there)])
    return tuple(_compare(intent, name, profiles) for name in names)


def _compare(
    intent: Intent, name: str, profiles: Mapping[str, Mapping[str, Json]]
) -> ProfileComparison:
    there = {host: normal_form(p[name]) for host, p in profiles.items() if name in p}
    if name in intent.profiles:
        against, wanted = INVENTORY, wanted_form(intent.profiles[name])
    else:
        against, wanted = next(iter(there.items()))
    odd = {host: found for host, found in there.items() if found != wanted}
    return ProfileComparison(
        name,
        against,
        same=tuple(host for host in there if host not in odd),
        differing=tuple(odd),
        missing=tuple(
            h for h in profiles if name in intent.lxd_hosts[h].profiles and h not in there
        ),
        diffs={
            host: "\n".join(_diff(name, host, found, against, wanted))
            for host, found in odd.items()
        },
    )


def _diff(name: str, host: str, found: Json, against: str, wanted: Json) -> Iterator[str]:
    where = f"in {against}" if against == INVENTORY else f"on {against}"
    return difflib.unified_diff(
        as_yaml(found).splitlines(),
        as_yaml(wanted).splitlines(),
        f"profile {name} on {host}",
        f"profile {name} {where}",
        lineterm="",
    )
