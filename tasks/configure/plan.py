"""What differs between a machine and its declared configuration: pure, from one read of it.

The order is that of the change: packages first, since they bring folders, users and services;
restarts last, once for each service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tasks.actual import MachineFacts, UnitFacts
from tasks.configure.users import plan_user, sudoers
from tasks.errors import FleetError
from tasks.intent.model import Configure, File, Machine, Service
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT, file_step
from tasks.machine.paths import SUDO, TIME_ZONES, is_foreign
from tasks.plan import Plan, Step, mapping_diff

Steps = Iterator[Step[Calls]]

#: UnitFileStates of a unit that starts at boot, or that nothing has to enable.
ENABLED = ("enabled", "enabled-runtime", "alias", "static", "generated", "indirect", "transient")
#: ActiveStates of a unit that runs or is about to.
ACTIVE = ("active", "reloading", "activating")


def plan_configuration(machine: Machine, actual: MachineFacts) -> Plan[Calls]:
    """The steps from ``actual`` to the machine's declared configuration.

    Raises :class:`FleetError` where a declared path lies under one of its foreign ones.
    """
    wanted = machine.configure
    files = [*wanted.files, *(sudoers(user) for user in wanted.users if user.sudo)]
    for file in files:
        if is_foreign(file.path, machine):
            raise FleetError(
                f"{file.path} is declared as ours and as foreign at once",
                where=machine.name,
                remedy="take one of the two out of the inventory",
            )
    changed = {file.path: step for file in files if (step := _file(file, actual))}
    steps = [
        *_packages(wanted, actual),
        *_timezone(wanted, actual),
        *(step for user in wanted.users for step in plan_user(user, actual)),
        *changed.values(),
        *(step for service in wanted.services for step in _service(service, actual)),
        *_restarts(wanted, frozenset(changed), actual),
    ]
    if wanted == Configure():
        return Plan(reason="no configuration is declared")
    return Plan(tuple(steps), "" if steps else "configured as declared")


def _packages(wanted: Configure, actual: MachineFacts) -> Steps:
    packages = dict(wanted.packages)
    why: dict[str, str] = {}
    if wanted.timezone and not actual.zone_known and packages.get(TIME_ZONES) != "absent":
        packages.setdefault(TIME_ZONES, "present")
        why[TIME_ZONES] = f"the time zone {wanted.timezone} needs it"
    if any(user.sudo for user in wanted.users):
        packages.setdefault(SUDO, "present")
        why[SUDO] = "a user with sudo needs it"
    # Removing first: what is removed may stand in the way of what is installed.
    for package, state in sorted(packages.items(), key=lambda item: item[1] != "absent"):
        installed = actual.packages.get(package)
        action, call = "install", Call("install_packages", (package,))
        if state == "absent":
            if installed is None:
                continue
            action, call = "remove", Call("remove_packages", (package,))
        elif state == "present":
            if installed is not None:
                continue
        elif installed == state:
            continue
        else:
            call = Call("install_packages", (f"{package}={state}",))
        yield Step(
            action,
            f"package {package}",
            (call,),
            why.get(package, "" if installed is None else f"{installed} is installed"),
            mapping_diff({package: installed or "absent"}, {package: state}, "packages"),
        )


def _timezone(wanted: Configure, actual: MachineFacts) -> Steps:
    if wanted.timezone and wanted.timezone != actual.timezone:
        yield Step(
            "update",
            "timezone",
            (Call("set_timezone", (wanted.timezone,)),),
            wanted.timezone,
            mapping_diff({"timezone": actual.timezone}, {"timezone": wanted.timezone}, "timezone"),
        )


def _file(file: File, actual: MachineFacts) -> Step[Calls] | None:
    pending = tuple(Call("pend_restart", (service,)) for service in file.restarts)
    return file_step(file, actual.files.get(file.path, ABSENT), before=pending)


def _service(service: Service, actual: MachineFacts) -> Steps:
    unit = actual.units.get(service.name, UnitFacts())
    states: Mapping[str, tuple[bool, bool | None, str, str]] = {
        "enabled": (unit.enabled in ENABLED, service.enabled, "enable", "disable"),
        "running": (unit.active in ACTIVE, service.running, "start", "stop"),
    }
    for key, (now, wanted, to_true, to_false) in states.items():
        if wanted is None or wanted == now:
            continue
        action = to_true if wanted else to_false
        if not wanted and unit.load == "not-found":
            continue
        yield Step(
            action,
            f"service {service.name}",
            (Call("service", (service.name, action)),),
            diff=mapping_diff({key: now}, {key: wanted}, f"service {service.name}"),
        )


def _restarts(wanted: Configure, changed: frozenset[str], actual: MachineFacts) -> Steps:
    """A service whose file changes, or changed in a run that did not come to the restart."""
    due: dict[str, list[str]] = {name: [] for name in actual.pending_restarts}
    for file in wanted.files:
        for name in file.restarts:
            if file.path in changed:
                due.setdefault(name, []).append(file.path)
    for name, paths in due.items():
        yield Step(
            "restart",
            f"service {name}",
            (Call("restart", (name,)),),
            f"{', '.join(paths)} changes" if paths else "an earlier run did not come to it",
        )
