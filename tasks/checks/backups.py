"""Rules on backups: each on a machine that is there, and that is not lost with the container."""

from __future__ import annotations

from tasks.intent.inventory import Inventory
from tasks.intent.model import Container, Intent
from tasks.mistakes import Mistakes, nearest


def check_backups(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    """Check where every container is backed up to."""
    for container in intent.containers.values():
        if container.maintenance.backup is not None:
            _check_to(container, container.maintenance.backup.to, intent, inventory, mistakes)


def _check_to(
    container: Container, to: str, intent: Intent, inventory: Inventory, mistakes: Mistakes
) -> None:
    place = inventory.host_place(container.name, "maintenance", "backup")
    keepers = [name for name in (*intent.lxd_hosts, *intent.machines) if name != container.on]
    if not to:
        if not mistakes.within(place):
            remedy = "write to: NAME, another LXD host or a plain machine"
            mistakes.add(place, "no machine to keep them on is named", remedy, host=container.name)
        return
    place = inventory.host_place(container.name, "maintenance", "backup", "to")
    if mistakes.within(place) or to in keepers:
        return
    if to == container.on:
        what, remedy = f"it is on {to} itself, and would be lost with it", "name another machine"
    elif to in intent.containers:
        what, remedy = f"{to} is a container", "name an LXD host or a plain machine"
    elif to in inventory.hosts:  # its kind is unclear, which is a mistake of its own
        return
    else:
        what = f"there is no host {to}"
        remedy = nearest(to, keepers, "declare it, with `lxd` or `machine`")
    mistakes.add(place, what, remedy, host=container.name)
