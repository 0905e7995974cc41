"""The jobs that maintenance knows, in the order in which a machine goes through them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from nornir.core.task import Result

from tasks.errors import UsageError
from tasks.maintenance.backups.task import BACKUP, back_up_container
from tasks.maintenance.certificates.task import PHASE as CERTIFICATES
from tasks.maintenance.certificates.task import renew_certificates
from tasks.maintenance.drift import PHASE as DRIFT
from tasks.maintenance.drift import find_drift
from tasks.maintenance.health import check_health
from tasks.maintenance.images import PHASE as IMAGES
from tasks.maintenance.images import refresh_images
from tasks.maintenance.reboot import PHASE as REBOOT
from tasks.maintenance.reboot import reboot_machine
from tasks.maintenance.restore.task import RESTORE, restore_container
from tasks.maintenance.snapshots import PRUNE, TAKE, prune_snapshots, take_snapshot
from tasks.maintenance.upgrade.task import upgrade_packages


@dataclass(frozen=True)
class Job:
    """A job: its Nornir task, whether it changes machines, and of which kinds they are.

    ``regular`` is one that is done when no job is named, ``risky`` one after whose changes the
    machine's health is looked at, ``interrupts`` one that takes an LXD host out of service together
    with all that it carries, ``after`` one that has to do with other machines as well: it is done
    once all of them had their turns. ``service`` is one that concerns what a container does: it is
    done to those that run, and to none whose ``apart`` group is not well; any other is done to
    those that are stopped or missing as well. One ``by_hand`` is for a bad day: alone, to machines
    that were chosen, at any time, however many fail. ``options`` are what its task is given besides
    in a run.
    """

    task: Callable[..., Result]
    changes: bool
    kinds: frozenset[str] = frozenset({"lxd", "container", "machine"})
    regular: bool = False
    risky: bool = False
    interrupts: bool = False
    after: bool = False
    service: bool = True
    by_hand: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_CONTAINERS = frozenset({"container"})
_LXD_HOSTS = frozenset({"lxd"})

# Not regular is what takes something away, which is never implied, and what only some want to wait
# for; certificates are what nobody looks at until nothing works any more, and cost nothing to read.
JOBS: Mapping[str, Job] = {
    TAKE: Job(take_snapshot, changes=True, kinds=_CONTAINERS),
    BACKUP: Job(back_up_container, changes=True, kinds=_CONTAINERS, service=False),
    "upgrade": Job(upgrade_packages, changes=True, regular=True, risky=True),
    REBOOT: Job(reboot_machine, changes=True, risky=True, interrupts=True),
    PRUNE: Job(prune_snapshots, changes=True, kinds=_CONTAINERS),
    IMAGES: Job(refresh_images, changes=True, kinds=_LXD_HOSTS),
    "health": Job(check_health, changes=False, regular=True),
    CERTIFICATES: Job(renew_certificates, changes=True, kinds=_LXD_HOSTS, regular=True, after=True),
    DRIFT: Job(find_drift, changes=False, after=True, service=False),
    RESTORE: Job(restore_container, changes=True, kinds=_CONTAINERS, service=False, by_hand=True),
}

#: What is done when no job is named.
REGULAR = tuple(name for name, job in JOBS.items() if job.regular)


def chosen(names: Collection[str]) -> dict[str, Job]:
    """The jobs of these names in their order, the regular ones without any.

    Raises :class:`UsageError` for an unknown one, with the nearest names, and where one that is
    done by hand is not alone.
    """
    for name in names:
        if name not in JOBS:
            near = get_close_matches(name, JOBS) or list(JOBS)
            raise UsageError(f"unknown job {name}", remedy=f"did you mean {' or '.join(near)}?")
        if JOBS[name].by_hand and len(names) > 1:
            raise UsageError(f"{name} is a job of its own", remedy="run the others afterwards")
    return {name: job for name, job in JOBS.items() if name in (names or REGULAR)}
