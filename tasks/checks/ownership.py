"""Rules on who owns what: nothing is ours and foreign at once, or ours twice."""

from __future__ import annotations

from tasks.intent.inventory import Inventory
from tasks.intent.model import Intent, LxdHost, Machine
from tasks.machine.managed import managed_files
from tasks.machine.paths import changed_in_place, declared_keys, foreign_over, setting_path
from tasks.mistakes import Mistakes, Place


def check_ownership(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    """Check every machine's files against what it leaves to others."""
    for name in intent.names():
        machine = intent.machine(name)
        ours = _files(machine, inventory, mistakes)
        for table, key, path in changed_in_place(machine.configure):
            ours.append((path, _place(inventory, name, table, key)))
        for keys, path in declared_keys(machine):
            ours.append((path, inventory.host_place(name, *keys)))
        if machine.configure.hostname and name in intent.containers:
            mistakes.add(
                inventory.host_place(name, "configure", "hostname"),
                "a container is called what the inventory calls it",
                "leave it out, or give the container another name",
                host=name,
            )
        host = intent.lxd_hosts.get(name)
        if host is not None:
            _check_kernel(host, inventory, mistakes)
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


def _files(machine: Machine, inventory: Inventory, mistakes: Mistakes) -> list[tuple[str, Place]]:
    """The files of a machine's configuration, and where each is declared."""
    files: list[tuple[str, Place]] = []
    first: dict[str, Place] = {}
    for managed in managed_files(machine.configure):
        path = managed.file.path
        place = _place(inventory, machine.name, managed.table, managed.name)
        if path in first:
            mistakes.add(
                place,
                f"{path} is declared twice",
                f"leave it to {first[path].key}, or take that out",
                host=machine.name,
            )
        first.setdefault(path, place)
        files.append((path, place))
    return files


def _place(inventory: Inventory, name: str, table: str, key: str) -> Place:
    """Where an entry of a table under ``configure`` is written; "" is a table that is one entry."""
    return inventory.host_place(name, "configure", table, *([key] if key else []))


def _check_kernel(host: LxdHost, inventory: Inventory, mistakes: Mistakes) -> None:
    """One table for each kernel setting of an LXD host; its LXD's own are foreign to nobody."""
    for key in host.configure.sysctl:
        if key in host.lxd.kernel.keys:
            mistakes.add(
                inventory.host_place(host.name, "configure", "sysctl", key),
                f"{key} is declared by lxd.kernel too",
                "write it there alone",
                host=host.name,
            )
    for key in host.lxd.kernel.exact:
        place = inventory.host_place(host.name, "lxd", "kernel", key)
        _check_foreign(host, setting_path(key), place, mistakes)


def _check_foreign(machine: Machine, path: str, place: Place, mistakes: Mistakes) -> None:
    foreign = foreign_over(path, machine)
    if foreign is not None:
        beneath = "" if path == foreign else f" (beneath {foreign})"
        mistakes.add(
            place,
            f"{path} is ours, and foreign{beneath}",
            "one owner for each: take it out of `foreign`, or do not declare it",
            host=machine.name,
        )
