"""Rules on who owns what: nothing is ours and foreign at once, or ours twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.mistakes import Mistakes, Place

if TYPE_CHECKING:
    from tasks.intent.inventory import Inventory
    from tasks.intent.model import Intent, Machine


def check_ownership(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    """Check every machine's files against what it leaves to others."""
    for name in intent.names():
        machine = intent.machine(name)
        files = inventory.hosts[name].data.get("configure", {}).get("files", {})
        ours = [(path, inventory.host_place(name, "configure", "files", path)) for path in files]
        host = intent.lxd_hosts.get(name)
        if host is not None:
            replaces = inventory.host_place(name, "netplan", "replaces")
            netplan = {path: replaces.at(n) for n, path in enumerate(host.netplan.replaces)}
            if host.netplan.file in netplan:
                mistakes.add(
                    netplan[host.netplan.file],
                    f"{host.netplan.file} is our own file",
                    "name only files of others",
                )
            for path, place in ours:
                if path in netplan or path == host.netplan.file:
                    mistakes.add(
                        place,
                        f"{path} is netplan's, which the bridges are written to",
                        "declare bridges instead of the file",
                    )
            ours += [*netplan.items(), (host.netplan.file, inventory.host_place(name, "foreign"))]
        for path, place in ours:
            _check_foreign(machine, path, place, mistakes)


def _check_foreign(machine: Machine, path: str, place: Place, mistakes: Mistakes) -> None:
    for foreign in machine.foreign:
        if path == foreign or path.startswith(foreign.rstrip("/") + "/"):
            beneath = "" if path == foreign else f" (beneath {foreign})"
            mistakes.add(
                place,
                f"{path} is ours, and foreign{beneath}",
                "one owner for each: take it out of `foreign`, or do not declare it",
                host=machine.name,
            )
