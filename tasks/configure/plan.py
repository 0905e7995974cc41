"""What differs between a machine and its declared configuration: pure, from one read of it.

The order is that of the change: repositories and packages first, since they bring folders, users
and services; restarts last, once for each service.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tasks.actual import MachineFacts
from tasks.configure.departed import plan_departed
from tasks.configure.files import departed_notes, plan_file, revoke, take_back
from tasks.configure.packages import plan_certificates, plan_packages
from tasks.configure.repositories import plan_repository
from tasks.configure.services import plan_services, switched_off
from tasks.configure.system import plan_locale, plan_sysctl, plan_timezone
from tasks.configure.users import (
    not_let_in_notes,
    plan_group,
    plan_user,
    without_foreign_keys,
)
from tasks.intent.model import Machine
from tasks.intent.system import Configure
from tasks.machine.change import Calls
from tasks.machine.host_name import plan_host_name
from tasks.machine.managed import Managed, managed_files, sudoers_path
from tasks.machine.paths import changed_in_place, is_foreign, ours_and_foreign
from tasks.plan import Plan, Step


def plan_configuration(
    machine: Machine,
    actual: MachineFacts,
    *,
    prune: bool = False,
    before_files: Sequence[Step[Calls] | str] = (),
    own_keys: Collection[str] = (),
) -> Plan[Calls]:
    """The steps from ``actual`` to the machine's declared configuration.

    ``prune`` takes back the files that a configuration of ours wrote and that left the inventory:
    what was there before comes back. It removes keys, users and groups that we made and that left
    it. Otherwise all these are noted. ``before_files`` are steps and notes of others; the steps
    come once packages and users are there, and before files. ``own_keys`` are public key lines
    that this run may be logged in with.

    Raises :class:`FleetError` where a declared path or kernel setting lies under one of its
    foreign ones.
    """
    wanted = machine.configure
    managed = list(managed_files(wanted))
    _see_that_it_is_ours(machine, managed)
    undeclared = set(actual.configured) - {found.file.path for found in managed}
    rights = {sudoers_path(user) for user in wanted.users}  # without sudo, else they are declared
    revoked = sorted(undeclared & rights)
    departed = sorted(path for path in undeclared - rights if not is_foreign(path, machine))
    left = list(
        plan_departed(machine, actual, prune=prune, own_keys=own_keys, elsewhere=before_files)
    )
    if wanted == Configure() and not (departed or left or before_files):
        return Plan(reason="no configuration is declared")
    off = switched_off(wanted)
    changes = {
        found.file.path: step
        for found in managed
        if found.table != "repositories" and (step := plan_file(found.file, actual, off))
    }
    removals = [take_back(path) for path in departed] if prune else []
    changed = [*changes, *(departed if prune else ())]
    users = [
        without_foreign_keys(user, machine, actual)
        for user in sorted(wanted.users, key=lambda user: not user.absent)
    ]
    groups = [group for group in wanted.groups if not group.absent]
    certificates = list(plan_certificates(wanted, actual))
    packages = list(plan_packages(wanted, actual))
    installing = any(step.action == "install" for step in (*certificates, *packages))
    steps = [
        *certificates,
        *(step for r in wanted.repositories for step in plan_repository(r, actual)),
        *packages,
        *(plan_host_name(machine, wanted.hostname, actual) if wanted.hostname else ()),
        *plan_timezone(wanted, actual),
        *plan_locale(wanted, actual),
        *(step for group in groups for step in plan_group(group, actual)),
        *(step for user in users for step in plan_user(user, actual, machine.let_in)),
        *(step for step in left if isinstance(step, Step)),
        *(step for g in wanted.groups if g.absent for step in plan_group(g, actual)),
        *plan_sysctl(wanted, actual),
        *(step for step in before_files if isinstance(step, Step)),
        *changes.values(),
        *(revoke(path) for path in revoked),
        *removals,
        *plan_services(wanted, actual, changed, installing=installing),
    ]
    notes = (
        *(note for note in before_files if isinstance(note, str)),
        *not_let_in_notes(machine, actual),
        *(() if prune else departed_notes(departed)),
        *(note for note in left if isinstance(note, str)),
    )
    return Plan(tuple(steps), "" if steps else "configured as declared", notes)


def _see_that_it_is_ours(machine: Machine, managed: Sequence[Managed]) -> None:
    in_place = [path for _, _, path in changed_in_place(machine.configure)]
    for path in [*(found.file.path for found in managed), *in_place]:
        if is_foreign(path, machine):
            raise ours_and_foreign(path, machine)
