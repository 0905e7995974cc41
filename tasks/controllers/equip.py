"""What controllers bring into the configuration of machines, from all that this run knows."""

from __future__ import annotations

from nornir.core.inventory import Host

from tasks.actual import MachineFacts
from tasks.controllers.departed import plan_departed_keys
from tasks.controllers.identity import identity_of
from tasks.controllers.known import former_controllers, keys_of_controllers
from tasks.controllers.plan import Equipment, plan_controller
from tasks.controllers.program import wheels_in
from tasks.intent.controller import Controller
from tasks.intent.model import Machine
from tasks.machine.change import Calls
from tasks.machine.files import ABSENT
from tasks.machine.keys import not_let_in
from tasks.machine.paths import ROOT_KEYS, is_foreign
from tasks.plan import Step
from tasks.run import Run, run_of
from tasks.transport import known_host_keys
from tasks.waves import controlling


def controller_steps(
    host: Host, machine: Machine, facts: MachineFacts, *, prune: bool
) -> list[Step[Calls] | str]:
    """The steps and notes that a machine's configuration has more because it is a controller, or
    because others are controllers no longer.

    Raises :class:`FleetError` where the wheels are not here.
    """
    run = run_of(host)
    departed = plan_departed_keys(former_controllers(run), machine, facts, prune=prune)
    controller = machine.controller
    if controller is None:
        return list(departed)
    own = identity_of(machine, controller, facts)
    keys = [own.key_line] if own.public_key or run.dry_run else []
    equipment = Equipment(
        wheels_in(controller.wheels, machine.name),
        tuple(dict.fromkeys((*keys_of_controllers(run), *keys))),
        _host_keys(run, machine, controller),
    )
    held = facts.files.get(ROOT_KEYS, ABSENT).text.splitlines()
    left_out = not_let_in(ROOT_KEYS, equipment.keys, held) if is_foreign(ROOT_KEYS, machine) else ()
    return [*departed, *left_out, *plan_controller(machine, controller, equipment, facts)]


def _host_keys(run: Run, machine: Machine, controller: Controller) -> dict[str, list[str]]:
    """The SSH host keys that a controller is handed; from inside, this run's are its own.

    In a dry run something stands for those of containers that are still to be bootstrapped.
    """
    inside = machine.name in controlling(run.intent)
    if inside and str(run.state.known_hosts) == controller.known_hosts:
        return {}
    found: dict[str, list[str]] = {}
    for name, host in run.hosts.items():
        keys = known_host_keys(host)
        container = run.intent.containers.get(name)
        if run.dry_run and not keys and container and container.running:
            keys = {name: ["(to be read)"]}
        found |= keys
    return found
